#!/usr/bin/env python3
"""Run the port on the reference's noise and prompt embeddings, and print how far each stage is from it.

Without flags: every stage from the image backwards, with the prompt and size of artifacts/reference.safetensors (which
run_reference.py writes: the default prompt at 1024x768), in float32.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from parity.answers import ALL_STAGES, ENCODERS, FAIL, Answers, load_answers, size_of
from parity.errors import Arguments, ParityError, run
from parity.explain import boxes
from parity.needs import Timings

# Constructor arguments with another name in the checkpoint's config files: {"transformer": {"width": "hidden_size"}}.
# Only needed to build the port in the sizes of a tiny twin.
SIZES: dict[str, dict[str, str]] = {}
NETWORKS = ("vae_decode", "vae_encode", "transformer", *ENCODERS)  # stages in which a module may be wrong
RECORDED, AUTO = "recorded", "auto"
QUANTIZE = "quantize"
CLAIMS = ("lora", "training", "image", "edit", QUANTIZE)  # the flags
ONLY_8 = "PORTING.md: --quantize 8 ticks the box"


def main() -> int:
    args = _arguments()
    answers = load_answers()
    _set_up_mlx(args.device)
    from parity import waivers

    claim = next((name for name in CLAIMS if getattr(args, name)), "")
    if claim:
        return _judge_claim(claim, args, answers)
    path = _reference(args, answers)
    recording = _recording(path)
    folder = _same_run(args, answers, recording)
    wanted = waivers.read_waivers(answers.home / "waivers.yml")
    _limits(args, recording)
    # MLX comes last, so that errors in a file are reported before it is loaded.
    from parity.run import estimate, mlx_port

    timings, key, steps = Timings(answers.artifacts), estimate.timed(recording, args.dtype), recording.facts["steps"]
    _warn(args, folder, recording, timings.sentence(key, steps))
    if args.estimate:
        return 0
    port = mlx_port.load(_port(args, answers, recording), folder, args.dtype, SIZES)
    found = _judge(args, answers, port, recording, wanted)
    if not args.stage:
        timings.keep(key, found.judge.progress, steps)
    if args.bisect == AUTO:
        recording, found = _look_inside(args, answers, port, recording, wanted, found)
    _print_findings(found, recording.facts)
    return 0 if found.passed else 1


def _set_up_mlx(device_name: str | None) -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["MLX_ENABLE_TF32"] = "0"  # read by MLX at import; without it, float32 products lose half their digits
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy only computes differences, so more threads would idle
    if device_name:
        from parity.run import device

        device.use(device_name)


def _warn(args: argparse.Namespace, folder: Path, recording, duration: str) -> None:
    """Print what the run needs, if requested or if the machine lacks it, and whether MLX is inexact in float32."""
    from parity.run import estimate, precision

    if args.estimate or estimate.is_too_large(folder, recording, args.dtype):
        print(estimate.sentence(folder, recording, args.dtype, duration))
    rough = precision.warning() if args.dtype == "float32" and not args.estimate else ""
    if rough:
        print(rough)


def _judge(args: argparse.Namespace, answers: Answers, port, recording, wanted, stages=None, known=None):
    """Compare the port with one recording; print every stage and write the results."""
    from parity.explain import report, report_json, session

    facts, path = recording.facts, recording.path
    if stages is None:
        stages = [stage for stage in answers.stages if args.bisect != AUTO or stage in NETWORKS]
        stages = [args.stage] if args.stage else stages
    print(f"against {path.name}: {facts['level']}, {boxes.setting_of(facts, args.dtype)}")
    bisect = bool(args.bisect) or facts["level"] != "stages"  # judge what was recorded
    limits = _limits(args, recording)
    say = lambda result: print(result.line)  # noqa: E731
    found = session.compare(port, recording, limits, wanted, stages, bisect, say, known)
    print(f"the port took {found.judge.progress.figures()}")
    _write(found, path)
    report.write_report(path.with_name("report.html"), answers.class_name, found, wanted)
    report_json.write_report(path.with_name("report.json"), found, _modules_would_tell(found, facts))
    for line in _tick(args, answers, facts, found.results):
        print(line)
    print(f"{path.with_name('report.html')}: stages, modules, and the pictures side by side")
    return found


def _look_inside(args: argparse.Namespace, answers: Answers, port, recording, wanted, found):
    """Record everything inside the block that differs, and compare the port with that."""
    from parity.explain import search

    module = search.next_module(found, recording.facts)
    if not module:
        return recording, found
    _print_findings(found, recording.facts)
    port.residents.free_all()
    stage = found.findings.answer.stage.split(".")[0]
    inside = answers.artifacts / "inside.safetensors"
    inside = _recording(search.run_reference(answers, search.inside(recording.facts, module), inside))
    sizes = recording.path.stat().st_size + inside.path.stat().st_size
    print(f"both recordings take {sizes / 1e9:.2f} GB on disk")
    return inside, _judge(args, answers, port, inside, wanted, [stage], found.pairing)


def _recording(path: Path, command: str = "run_reference.py"):
    from parity.record.recording import Recording

    recording = Recording(path, command)
    recording.verify_facts()
    return recording


def _limits(args: argparse.Namespace, recording):
    from parity.compare.limits import Limits
    from parity.record.calibration import gaps_of

    return Limits(args.dtype, gaps_of(recording))


def _judge_claim(claim: str, args: argparse.Namespace, answers: Answers) -> int:
    """Judge LoRA, training, image-to-image or a quantized copy instead of the stages."""
    from parity import waivers

    _refuse_other_flags(claim, args)
    stages = claim == QUANTIZE  # a quantized copy is judged on the plain recording
    default = answers.artifacts / f"{'reference' if stages else claim}.safetensors"
    command = f"`uv run porting/{answers.model}/run_reference.py{'' if stages else f' --{claim}'}`"
    recording = _recording(Path(args.reference) if args.reference else default, command)
    recording.verify_claim(claim)
    folder = _same_run(args, answers, recording)
    wanted = waivers.read_waivers(answers.home / "waivers.yml")
    from parity.explain import claims
    from parity.run import estimate

    timings, key = Timings(answers.artifacts), f"{claim} of {estimate.timed(recording, 'float32')}"
    steps = recording.facts["steps"]
    if args.estimate:
        duration = timings.sentence(key, steps)
        print(estimate.claim_sentence(claim, folder, recording, args.quantize, duration))
        return 0
    where, adapter = _port(args, answers, recording), args.adapter or answers.adapter_path
    judged = claims.Claim(where, adapter, folder, SIZES, recording, wanted, args.quantize)
    result = claims.JUDGES[claim](judged)
    print(f"the port took {judged.progress.figures()}")
    timings.keep(key, judged.progress, steps)
    ticks = not stages or args.quantize == 8
    for line in _tick(args, answers, recording.facts, [result]) if ticks else [ONLY_8]:
        print(line)
    return 1 if result.status == FAIL else 0


def _port(args: argparse.Namespace, answers: Answers, recording) -> str:
    return args.port or (answers.edit_path if recording.facts.get("images") else answers.import_path)


def _refuse_other_flags(claim: str, args: argparse.Namespace) -> None:
    # Otherwise the evidence would name a setting that was not run.
    others = {"--stage": args.stage, "--bisect": args.bisect}
    others["--dtype bfloat16"] = args.dtype != "float32"
    given = next((flag for flag, value in others.items() if value), "")
    if given:
        raise ParityError(f"--{claim} is judged in float32, in a separate run; leave out {given}")


def _tick(args: argparse.Namespace, answers: Answers, facts: dict, results: list) -> list[str]:
    """Write the figures into PORTING.md, if this run may. Returns a line for each box that was not ticked."""
    reason = boxes.why_not(facts, answers.model, args.port or answers.import_path)
    if facts.get("images") and not args.edit:
        reason = "a run with input images ticks the box of editing only, with --edit"
    if reason:
        return [f"PORTING.md: {reason}"]
    setting = boxes.setting_of(facts, args.dtype)
    return boxes.tick(answers.home / "PORTING.md", results, setting, boxes.source_commit(answers.home))


def _reference(args: argparse.Namespace, answers: Answers) -> Path:
    if args.reference:
        return Path(args.reference)
    modules, stages = (answers.artifacts / f"{name}.safetensors" for name in ("modules", "reference"))
    if args.bisect == AUTO and not args.estimate:
        return _blocks(answers, stages)
    return modules if args.bisect and modules.is_file() else stages


def _blocks(answers: Answers, stages: Path) -> Path:
    """A recording of all blocks in the run of ``stages``: the existing one, or a new one."""
    from parity.explain import search

    blocks, facts = answers.artifacts / "blocks.safetensors", _recording(stages).facts
    if search.is_of_run(blocks, facts):
        return blocks
    return search.run_reference(answers, ["--blocks", *search.settings(facts)], blocks)


def _print_findings(found, facts: dict) -> None:
    pairing = found.pairing
    print(
        f"weights: {len(pairing.parameters)} of {pairing.parameter_count} parameters and {len(pairing.modules)} of "
        f"{pairing.module_count} modules were matched with the reference's"
    )
    for verdict in found.findings.verdicts:
        print(f"waived: {verdict.module} ({verdict.waived})" if verdict.waived else f"look at {verdict.line}")
    if found.findings.answer and not any(result.status == FAIL for result in found.results):
        print("an intended difference, or one of mflux's own classes, goes into waivers.yml with its reason")
    from parity.explain import search

    if _modules_would_tell(found, facts):
        guided = f" --guidance {facts['guidance']:g}" if facts["guidance"] > 1 else ""
        print(f"to find the module: run run_reference.py --modules{guided}, then run_mflux.py --bisect")
        print(
            "at this size: run_mflux.py --bisect auto, which records the blocks and then what is inside the wrong one"
        )
    module = search.next_module(found, facts)
    if module:
        command = search.sentence(search.inside(facts, module))
        print(f"to look inside it: run {command}, then run_mflux.py --bisect; or run_mflux.py --bisect auto")


def _modules_would_tell(found, facts: dict) -> bool:
    """Whether a recording of the modules would show more than this run did."""
    failed = [result for result in found.results if result.status == FAIL]
    return facts["level"] == "stages" and any(result.stage in NETWORKS for result in failed)


def _same_run(args: argparse.Namespace, answers: Answers, recording) -> Path:
    """The checkpoint of the recording, after checking that the recording fits the arguments."""
    from parity.record.components import header_digest, read_index, same_pipeline

    facts = recording.facts
    if not facts.get("images") and not same_pipeline(answers.pipeline, facts["pipeline"]):
        raise ParityError(
            f"{recording.path} is of a {facts['pipeline']}, the port's reference_pipeline is {answers.pipeline}; "
            "run run_reference.py with the right --model"
        )
    width, height = size_of(args.size) if args.size else (facts["width"], facts["height"])
    asked = {
        "prompt": args.prompt or facts["prompt"],
        "width": width,
        "height": height,
        "steps": args.steps or facts["steps"],
    }
    for name, value in asked.items():
        if value != facts[name]:
            raise ParityError(
                f"the reference ran with {name} {facts[name]!r}, not {value!r}; run run_reference.py with {value!r}"
            )
    folder = Path(args.model or facts["model"])
    if not folder.is_dir():
        raise ParityError(f"{folder} is not a folder; name the reference's checkpoint with --model")
    read_index(folder)
    if header_digest(folder) != facts["checkpoint"]:
        raise ParityError(f"{folder} is not the checkpoint that the reference ran; run run_reference.py with it")
    return folder


def _write(found, path: Path) -> None:
    from parity.explain.pictures import save_image
    from parity.record.recording import Recorder

    judge = found.judge
    with Recorder(
        path.with_name("mflux.safetensors"),
        {"run": judge.recording.facts["run"], "dtype": judge.limits.dtype},
        strict=False,
    ) as sink:
        for result in found.results:
            if result.worst is not None:
                sink.add(f"{result.stage}/{result.tensor.split('/', 1)[1]}", result.worst.own)
    if judge.end_to_end is not None and judge.end_to_end.image is not None:
        save_image(judge.end_to_end.image, path.with_name("mflux.png"))
        print(f"{path.with_name('mflux.png')}: the port's picture; the reference's is {path.with_suffix('.png')}")


def _arguments() -> argparse.Namespace:
    parser = Arguments(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=ALL_STAGES, help="only this stage (default: all)")
    claim = parser.add_mutually_exclusive_group()
    claim.add_argument("--lora", action="store_true", help="judge the LoRA files of run_reference.py --lora instead")
    claim.add_argument("--training", action="store_true", help="judge the step of run_reference.py --training instead")
    claim.add_argument("--image", action="store_true", help="judge the image-to-image of run_reference.py --image")
    claim.add_argument("--edit", action="store_true", help="judge the edit class by the run of run_reference.py --edit")
    claim.add_argument("--quantize", type=int, choices=(3, 4, 5, 6, 8), help="judge a copy with this many bits instead")
    parser.add_argument("--adapter", metavar="MODULE:CLASS", help="default: the port's training adapter")
    parser.add_argument(
        "--bisect", nargs="?", const=RECORDED, choices=(RECORDED, AUTO), metavar=AUTO,
        help="judge artifacts/modules.safetensors and name the module; auto: record what that needs, at any size",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("gpu", "cpu"), help="default: gpu if MLX has one, else cpu")
    parser.add_argument(
        "--estimate", action="store_true", help="print what the run takes in memory and seconds, and stop"
    )
    parser.add_argument("--reference", help="default: artifacts/reference.safetensors")
    parser.add_argument("--model", help="the checkpoint (default: the folder that the reference ran)")
    parser.add_argument("--port", metavar="MODULE:CLASS", help="default: the port's text-to-image class")
    parser.add_argument("--prompt", help="fails when the reference ran with another one")
    parser.add_argument("--size", help="fails when the reference ran with another one")
    parser.add_argument("--steps", type=int, help="fails when the reference ran with another number")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
