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
from pathlib import Path

from parity.answers import FEW_STEPS, PROMPT, SEED, SIZE, Answers, load_answers, size_of
from parity.errors import Arguments, ParityError, run
from parity.record import components


def main() -> int:
    args = _arguments()
    answers = load_answers()
    folder = components.resolve(args.model or answers.hf_repo, weights=not args.estimate)
    from parity.explain.pictures import save_image
    from parity.record import estimate, precision, reference, torch_taps

    precision.use_float32()
    plan = _plan(args, answers, folder, torch_taps, reference)
    if plan.level != torch_taps.STAGES or args.estimate:
        print(estimate.sentence(plan))
    if args.estimate:
        return 0
    _say(precision.warning(plan.device) if plan.dtype == "float32" else "")
    loaded = reference.load(plan, answers.pipeline, args.keep_loaded)
    _verify_module(plan.only, torch_taps.classes(loaded.pipe))
    name = "reference" if plan.level == torch_taps.STAGES else "modules"
    path = Path(args.output) if args.output else answers.artifacts / f"{name}.safetensors"
    recording = reference.record(loaded, plan, path, calibrate=not args.no_calibration)
    save_image(recording.get("vae_decode/vae/out/0"), path.with_suffix(".png"))
    print(f"{path}: {len(recording.events)} tensors, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _say(line: str) -> None:
    if line:
        print(line)


def _plan(args: argparse.Namespace, answers: Answers, folder: Path, taps, reference):
    from parity.record import sizes

    level = taps.MODULES if args.modules or args.module else taps.BLOCKS if args.blocks else taps.STAGES
    width, height = size_of(args.size or SIZE) if args.size or level == taps.STAGES else sizes.small(folder)
    guidance = answers.guidance if args.guidance is None else args.guidance
    # Modules are compared without classifier-free guidance where nothing else is asked for: it runs all of them twice.
    unguided = guidance <= 1 or args.guidance is None and (level != taps.STAGES or not answers.supports_guidance)
    return reference.Run(
        model=folder,
        prompt=args.prompt,
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        width=width,
        height=height,
        steps=_steps(args.steps, answers.steps),
        guidance=guidance,
        dtype=args.dtype,
        device=args.device or _device(),
        level=level,
        only=args.module or "",
        all_steps=args.all_steps,
        unguided=unguided,
        call=dict(map(_call_argument, args.call)),
    )


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
    """What was asked for; else a few steps, which show all that the model card's many do."""
    if asked is None and usual > FEW_STEPS:
        print(f"{FEW_STEPS} steps; the model card's {usual} with --steps {usual}")
        return FEW_STEPS
    steps = usual if asked is None else asked
    if steps < 1:
        raise ParityError(f"--steps {steps} is not a number of steps; type 1 or more")
    return steps


def _device() -> str:
    import torch

    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _arguments() -> argparse.Namespace:
    parser = Arguments(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="the reference's folder or repo id (default: the port's hf_repo)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stages", action="store_true", help="record the stages only (default)")
    what.add_argument("--blocks", action="store_true", help="record every block's input and output, too")
    what.add_argument("--modules", action="store_true", help="record every module's inputs and outputs, too")
    what.add_argument("--module", metavar="NAME", help="record everything inside one module")
    parser.add_argument("--all-steps", action="store_true", help="modules of all steps (default: first and last)")
    parser.add_argument("--size", help=f"N or WIDTHxHEIGHT (default: {SIZE}; small for blocks and modules)")
    parser.add_argument("--steps", type=int, help=f"denoising steps (default: the port's, {FEW_STEPS} at most)")
    parser.add_argument("--guidance", type=float, help="default: the port's; off for blocks and modules")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--call", action="append", default=[], metavar="NAME=VALUE", help="one more pipeline argument")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    parser.add_argument("--device", help="default: mps or cuda where there is one, else cpu")
    parser.add_argument("--no-calibration", action="store_true", help="do not run a second time in bfloat16")
    parser.add_argument("--keep-loaded", action="store_true", help="keep all networks in memory, not one at a time")
    parser.add_argument("--estimate", action="store_true", help="print what a recording takes on disk, and stop")
    parser.add_argument("--output", help="default: artifacts/reference.safetensors, or modules.safetensors")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
