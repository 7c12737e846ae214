#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "accelerate", "diffusers>=0.38", "huggingface_hub", "numpy", "pillow", "pyyaml", "safetensors", "torch",
#     "torchvision", "transformers>=5",
# ]
# ///
"""Run the PyTorch reference once from fixed noise and record it for run_mflux.py.

Without flags: the default prompt at 1024x768 in a few steps, stages only, written to artifacts/reference.safetensors.
"""

from __future__ import annotations

import argparse
import difflib
import json
from dataclasses import replace
from pathlib import Path

from parity.answers import FEW_STEPS, SEED, SIZE, Answers, load_answers, size_of
from parity.errors import Arguments, ParityError, run
from parity.needs import Timings
from parity.record import components


def main() -> int:
    args = _arguments()
    answers = load_answers()
    components.allow_custom_code(args.custom_code)
    repo = args.model or (answers.hf_repo if args.edit is None else answers.edit_repo)
    folder = components.resolve(repo)
    device = _device(args.device)  # before the weights are downloaded
    folder = folder if args.estimate else components.resolve(repo, weights=True)
    from parity.record import estimate, precision, reference, torch_taps, usual_prompt

    precision.use_float32()
    plan = _plan(args, answers, folder, device)
    claim = _kind(args) or ("edit" if plan.images else "")
    path = _path(args, answers, plan.level == torch_taps.STAGES)
    timings, key = Timings(answers.artifacts), " ".join(filter(None, ("reference", claim, plan.timed)))
    if plan.level != torch_taps.STAGES or args.estimate or estimate.is_large(plan):
        print(estimate.sentence(plan, path, timings.sentence(key, plan.steps), claim))
    if args.estimate:
        return 0
    _say(precision.warning(plan.device) if plan.dtype == "float32" else "")
    # An edit pipeline may differ from that of text-to-image.
    loaded = reference.load(plan, "" if plan.images else answers.pipeline, args.keep_loaded)
    if args.prompt is None:
        plan = replace(plan, prompt=usual_prompt.usual_prompt(type(loaded.pipe)))
    _verify_module(plan.only, torch_taps.classes(loaded.pipe))
    RECORDS[_kind(args)](loaded, plan, path, args)
    timings.keep(key, loaded.progress, plan.steps)
    print(f"the reference took {loaded.progress.figures()}")
    return 0


def _path(args: argparse.Namespace, answers: Answers, whole: bool) -> Path:
    name = _kind(args) or ("reference" if whole else "modules")
    if args.edit is not None:
        name = "edit" if whole else "edit_modules"
    return Path(args.output) if args.output else answers.artifacts / f"{name}.safetensors"


def _kind(args: argparse.Namespace) -> str:
    """The kind of run that is recorded instead of a plain one; empty for a plain run."""
    return "lora" if args.lora else "training" if args.training else "image" if args.image is not None else ""


def _record_run(loaded, plan, path: Path, args: argparse.Namespace) -> None:
    from parity.explain.pictures import save_image
    from parity.record import reference

    recording = reference.record(loaded, plan, path, calibrate=not args.no_calibration)
    save_image(recording.get("vae_decode/vae/out/0"), path.with_suffix(".png"))
    print(f"{path}: {len(recording.events)} tensors, {path.stat().st_size / 1e6:.1f} MB")


def _record_image(loaded, plan, path: Path, args: argparse.Namespace) -> None:
    from parity.record import image_to_image, pictures

    drawn = path.with_name("input.png")
    picture = Path(args.image) if args.image else pictures.default_picture(drawn, plan.width, plan.height)
    facts = image_to_image.record(loaded, plan, path, picture, args.strength).facts["image"]
    whose = (
        facts["pipeline"]
        or f"the parts of {type(loaded.pipe).__name__}, which has no image-to-image pipeline in diffusers"
    )
    print(f"{path}: {picture.name} at strength {args.strength:g} starts at step {facts['start']}, by {whose}")


def _record_lora(loaded, plan, path: Path, args: argparse.Namespace) -> None:
    from parity.record import lora

    files = lora.record(loaded, plan, path).facts["lora"]["files"]
    for name, file in files.items():
        print(
            f"{name:<18} {len(file['layers'])} layers"
            + f"; the reference does not load it: {file['why']}" * bool(file["why"])
        )
    print(f"{path}: {len(files)} LoRA files in {path.with_suffix('')}")


def _record_training(loaded, plan, path: Path, args: argparse.Namespace) -> None:
    from parity.record import training

    recording = training.record(loaded, plan, path)
    facts = recording.facts["lora"]
    print(f"{path}: loss {facts['losses']['noise - clean']:.4g}, gradients of {len(facts['layers'])} layers")


RECORDS = {"": _record_run, "lora": _record_lora, "training": _record_training, "image": _record_image}


def _say(line: str) -> None:
    if line:
        print(line)


def _plan(args: argparse.Namespace, answers: Answers, folder: Path, device: str):
    from parity.record import reference, sizes, torch_taps

    if args.edit is not None and _kind(args):
        raise ParityError(f"--edit and --{_kind(args)} are two recordings; give one of them")
    level = (
        torch_taps.MODULES if args.modules or args.module else torch_taps.BLOCKS if args.blocks else torch_taps.STAGES
    )
    whole = level == torch_taps.STAGES and not (args.lora or args.training)
    width, height = sizes.small(folder, answers.size_multiple)
    if args.size or whole:
        width, height = size_of(args.size) if args.size else sizes.usual(answers.size_multiple)
    guidance = answers.guidance if args.guidance is None else args.guidance
    # By default modules are compared without classifier-free guidance, because it runs all of them twice.
    unguided = guidance <= 1 or args.guidance is None and (not whole or not answers.supports_guidance)
    return reference.Run(
        model=folder,
        prompt=args.prompt or "",
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        width=width,
        height=height,
        steps=_steps(args.steps, answers.steps),
        guidance=guidance,
        dtype=args.dtype,
        device=device,
        level=level,
        only=args.module or "",
        all_steps=args.all_steps,
        unguided=unguided,
        guided_port=answers.supports_guidance,
        call=dict(map(_call_argument, args.call)),
        images=_images(args, answers, width, height),
    )


def _images(args: argparse.Namespace, answers: Answers, width: int, height: int) -> tuple[Path, ...]:
    from parity.record import edit

    return () if args.edit is None else edit.pictures(args.edit, answers.artifacts, width, height, answers.max_images)


def _call_argument(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise ParityError(f"--call {text} is not an argument; write it as name=VALUE in JSON") from None


def _verify_module(name: str, known: dict) -> None:
    if name and name not in known:
        like = (
            difflib.get_close_matches(name, known, 3, 0.5) or [path for path in known if path.endswith(f".{name}")][:3]
        )
        raise ParityError(
            f"--module {name} names no module of the reference; there are {', '.join(like or list(known)[:3])}"
        )


def _steps(asked: int | None, usual: int) -> int:
    """The requested number of steps; by default a few, which show the same as the model card's number."""
    if asked is None and usual > FEW_STEPS:
        print(f"{FEW_STEPS} steps; the model card's {usual} with --steps {usual}")
        return FEW_STEPS
    steps = usual if asked is None else asked
    if steps < 1:
        raise ParityError(f"--steps {steps} is not a number of steps; type 1 or more")
    return steps


def _device(asked: str | None) -> str:
    import torch

    found = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    usable = [name for name, here in found.items() if here]
    if asked is None:
        return usable[0]
    try:
        torch.ones(1, device=asked).item()  # the device "meta" makes numbers but does not compute
    except Exception as error:  # noqa: BLE001 - each kind of device has its own error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ParityError(
            f"--device {asked} cannot be used ({reason}); leave it out, or type {' or '.join(usable)}"
        ) from None
    return "cpu" if torch.device(asked).type == "cpu" else asked


def _arguments() -> argparse.Namespace:
    parser = Arguments(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="the reference's folder or repo id (default: the port's hf_repo)")
    _add_what_is_recorded(parser)
    _add_what_the_pipeline_gets(parser)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    parser.add_argument("--device", help="default: mps or cuda if available, else cpu")
    parser.add_argument("--no-calibration", action="store_true", help="do not run a second time in bfloat16")
    parser.add_argument("--keep-loaded", action="store_true", help="keep all networks in memory, not one at a time")
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print what a recording takes on disk, in memory and in seconds, and stop",
    )
    parser.add_argument("--output", help="default: artifacts/reference.safetensors, or modules.safetensors")
    parser.add_argument(components.CUSTOM_CODE, action="store_true", help="run Python files that the checkpoint has")
    return parser.parse_args()


def _add_what_is_recorded(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stages", action="store_true", help="record the stages only (default)")
    what.add_argument("--blocks", action="store_true", help="record every block's input and output, too")
    what.add_argument("--modules", action="store_true", help="record every module's inputs and outputs, too")
    what.add_argument("--module", metavar="NAME", help="record everything inside one module")
    what.add_argument("--lora", action="store_true", help="write LoRA files in every key format, and what they change")
    what.add_argument("--training", action="store_true", help="record one training step: loss, gradients, updates")
    what.add_argument(
        "--image", nargs="?", const="", metavar="FILE", help="record image-to-image (default: a drawn one)"
    )
    parser.add_argument(
        "--strength", type=float, default=0.5, help="of --image, in the reference's scale (default: 0.5)"
    )
    parser.add_argument("--all-steps", action="store_true", help="modules of all steps (default: first and last)")


def _add_what_the_pipeline_gets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--edit", nargs="*", metavar="FILE", help="with input images: files, or how many to draw (default: 1)"
    )
    parser.add_argument("--size", help=f"N or WIDTHxHEIGHT (default: {SIZE}; small for blocks and modules)")
    parser.add_argument("--steps", type=int, help=f"denoising steps (default: the port's, {FEW_STEPS} at most)")
    parser.add_argument("--guidance", type=float, help="default: the port's; off for blocks and modules")
    parser.add_argument("--prompt", help="default: a short one, with quoted words if the pipeline reads them")
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--call", action="append", default=[], metavar="NAME=VALUE", help="one more pipeline argument")
    parser.add_argument("--seed", type=int, default=SEED)


if __name__ == "__main__":
    run(main)
