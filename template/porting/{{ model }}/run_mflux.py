#!/usr/bin/env python3
"""Run the port on the reference's noise and prompt embeddings, and say stage by stage how far it is from it.

Without flags: every stage from the image backwards, with the prompt and size of artifacts/reference.safetensors (which
run_reference.py writes: the default prompt at 1024x768), in float32.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from parity.answers import FAIL, STAGE_NAMES, Answers, load_answers, size_of
from parity.errors import Arguments, ParityError, run
from parity.explain import notes

# Constructor arguments with another name in the checkpoint's config files: {"transformer": {"width": "hidden_size"}}.
# Only needed to build the port in the sizes of a tiny twin.
SIZES: dict[str, dict[str, str]] = {}
RECORDED, AUTO = "recorded", "auto"
NETWORKS = ("vae_decode", "vae_encode", "transformer", "text_encoder")  # stages in which a module may be wrong


def main() -> int:
    args = _arguments()
    answers = load_answers()
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["MLX_ENABLE_TF32"] = "0"  # MLX reads it at import: else float32 products lose half of their digits
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy only takes differences; its threads would wait
    from parity import waivers

    path = _reference(args, answers)
    recording = _recording(path)
    folder = _same_run(args, answers, recording)
    wanted = waivers.read_waivers(answers.home / "waivers.yml")
    _limits(args, recording)
    # MLX comes last, so that errors in a file are reported before it is loaded.
    from parity.run import mlx_port, precision

    rough = precision.warning() if args.dtype == "float32" else ""
    if rough:
        print(rough)
    port = mlx_port.load(args.port or answers.import_path, folder, args.dtype, SIZES)
    found = _judge(args, answers, port, recording, wanted)
    if args.bisect == AUTO:
        recording, found = _look_inside(args, answers, port, recording, wanted, found)
    _print_findings(found, recording.facts)
    return 0 if found.passed else 1


def _judge(args: argparse.Namespace, answers: Answers, port, recording, wanted, stages=None, known=None):
    """Compare the port with one recording; print every stage and write all that is to be kept."""
    from parity.explain import report, session

    facts, path = recording.facts, recording.path
    if stages is None:
        stages = [args.stage] if args.stage else session.MODULE_STAGES if args.bisect == AUTO else STAGE_NAMES
    print(f"against {path.name}: {facts['level']}, {notes.setting_of(facts, args.dtype)}")
    bisect = bool(args.bisect) or facts["level"] != "stages"  # what is recorded is judged
    limits = _limits(args, recording)
    say = lambda result: print(_line(result))  # noqa: E731
    found = session.compare(port, recording, limits, wanted, stages, bisect, say, known)
    print(f"the port took {found.judge.progress.figures()}")
    _write(found, path)
    report.write_report(path.with_name("report.html"), answers.class_name, found, wanted)
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


def _recording(path: Path):
    from parity.record.recording import Recording

    recording = Recording(path)
    recording.verify_facts()
    return recording


def _limits(args: argparse.Namespace, recording):
    from parity.compare.limits import Limits
    from parity.record.calibration import read_calibration

    gaps = read_calibration(recording.path.with_suffix(".gaps.json"), recording.facts["run"])
    return Limits(args.dtype, gaps)


def _tick(args: argparse.Namespace, answers: Answers, facts: dict, results: list) -> list[str]:
    """Write the figures into PORTING.md where this run may. Returns what there is to say about it."""
    reason = notes.why_not(facts, answers.model, args.port or answers.import_path)
    if reason:
        return [f"PORTING.md: {reason}"]
    setting = notes.setting_of(facts, args.dtype)
    return notes.tick(answers.home / "PORTING.md", results, setting, notes.source_commit(answers.home))


def _reference(args: argparse.Namespace, answers: Answers) -> Path:
    if args.reference:
        return Path(args.reference)
    modules, stages = (answers.artifacts / f"{name}.safetensors" for name in ("modules", "reference"))
    if args.bisect == AUTO:
        return _blocks(answers, stages)
    return modules if args.bisect and modules.is_file() else stages


def _blocks(answers: Answers, stages: Path) -> Path:
    """A recording of all blocks in the run of ``stages``: the one that there is, or a new one."""
    from parity.explain import search

    blocks, same = answers.artifacts / "blocks.safetensors", search.settings(_recording(stages).facts)
    if blocks.is_file() and search.settings(_recording(blocks).facts) == same:
        return blocks
    return search.run_reference(answers, ["--blocks", *same], blocks)


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

    if facts["level"] == "stages" and any(
        result.status == FAIL and result.stage in NETWORKS for result in found.results
    ):
        guided = f" --guidance {facts['guidance']:g}" if facts["guidance"] > 1 else ""
        print(f"to find the module: run run_reference.py --modules{guided}, then run_mflux.py --bisect")
        print(
            "at this size: run_mflux.py --bisect auto, which records the blocks and then what is inside the wrong one"
        )
    module = search.next_module(found, facts)
    if module:
        command = search.sentence(search.inside(facts, module))
        print(f"to look inside it: run {command}, then run_mflux.py --bisect; or run_mflux.py --bisect auto")


def _line(result) -> str:
    figures = (
        f"relL2 {result.relative:.2e}  limit {result.limit:.1e}  max {result.largest:.1e}" if result.tensor else ""
    )
    return f"{result.stage:<13} {result.status:<10} {figures:<48} {result.note}".rstrip()


def _same_run(args: argparse.Namespace, answers: Answers, recording) -> Path:
    """The checkpoint of the recording, after what was asked for was compared with what was recorded."""
    from parity.record.components import header_digest, read_index, same_pipeline

    facts = recording.facts
    if not same_pipeline(answers.pipeline, facts["pipeline"]):
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
            raise ParityError(f"the reference ran with {name} {facts[name]!r}, not {value!r}; run run_reference.py so")
    folder = Path(args.model or facts["model"])
    if not folder.is_dir():
        raise ParityError(f"{folder} is not a folder; name the checkpoint that the reference ran with --model")
    read_index(folder)
    if header_digest(folder) != facts["checkpoint"]:
        raise ParityError(f"{folder} is another checkpoint than the reference ran; run run_reference.py with it")
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
    parser.add_argument("--stage", choices=STAGE_NAMES, help="only this stage (default: all)")
    parser.add_argument(
        "--bisect", nargs="?", const=RECORDED, choices=(RECORDED, AUTO), metavar=AUTO,
        help="judge artifacts/modules.safetensors and name the module; auto: record what that needs, at any size",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--reference", help="default: artifacts/reference.safetensors")
    parser.add_argument("--model", help="the checkpoint (default: the folder that the reference ran)")
    parser.add_argument("--port", metavar="MODULE:CLASS", help="default: the port's text-to-image class")
    parser.add_argument("--prompt", help="fails when the reference ran with another one")
    parser.add_argument("--size", help="fails when the reference ran with another one")
    parser.add_argument("--steps", type=int, help="fails when the reference ran with another number")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
