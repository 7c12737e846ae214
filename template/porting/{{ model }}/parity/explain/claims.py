"""Judge a port's claims besides text-to-image and print the results: editing, LoRA, training, quantized copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from parity.answers import FAIL
from parity.compare import claim_row
from parity.compare.claim_row import Row
from parity.compare.lora import LIMIT, FileResult, worst_of
from parity.explain import session
from parity.progress import Progress
from parity.record.recording import Recording
from parity.run import edit, image_to_image, lora, mlx_port, quantized, training
from parity.run.stages import Result
from parity.waivers import Waivers


@dataclass
class Claim:
    """A claim. ``where``, ``adapter``: ``module:Class``; ``folder``: the checkpoint; ``bits``: of a quantized copy."""

    where: str
    adapter: str
    folder: Path
    sizes: dict[str, dict[str, str]]
    recording: Recording
    waivers: Waivers
    bits: int | None
    progress: Progress = field(default_factory=lambda: Progress("port", mx.get_peak_memory))

    @property
    def port(self) -> mlx_port.Port:
        return mlx_port.load(self.where, self.folder, "float32", self.sizes)


def judge_lora(claim: Claim) -> Result:
    say = lambda file: print(_file_line(file))  # noqa: E731
    files, call = lora.judge(claim.where, claim.folder, claim.sizes, claim.recording, claim.waivers, say)
    print(call.line)
    file = worst_of(files)
    if file is None:  # the reference loads none of them
        return Result("lora", call.status, call.relative, limit=LIMIT)
    status = FAIL if FAIL in (file.status, call.status) else file.status
    return Result("lora", status, max(file.worst, call.relative), limit=LIMIT)


def judge_training(claim: Claim) -> Result:
    picture = claim.recording.path.with_suffix(".png")
    rows = training.judge(claim.port, claim.adapter, claim.recording, picture, _say("training"), claim.waivers)
    return _result("training", rows)


def judge_image(claim: Claim) -> Result:
    return _result("image_to_image", image_to_image.judge(claim.port, claim.recording, _say("image")))


def judge_edit(claim: Claim) -> Result:
    port = claim.port
    pairing = session.pair(port, claim.recording)
    waived = lambda result: session.waived(result, claim.waivers, port, pairing)  # noqa: E731
    return _result("edit", edit.judge(port, claim.recording, pairing, _say("edit"), waived))


def judge_quantized(claim: Claim) -> Result:
    say = lambda row: print(f"q{claim.bits} {row.name:<13} {row.status:<6} {row.note}")  # noqa: E731
    return _result(
        "quantized", quantized.judge(claim.where, claim.folder, claim.sizes, claim.recording, claim.bits, say)
    )


JUDGES: dict[str, Callable[[Claim], Result]] = {
    "lora": judge_lora,
    "training": judge_training,
    "image": judge_image,
    "edit": judge_edit,
    "quantize": judge_quantized,
}


def _result(stage: str, rows: list[Row]) -> Result:
    failed = any(row.status == FAIL for row in rows)
    # A failed row may have no figure; otherwise show the row that is nearest to its limit.
    row = claim_row.worst(rows if failed else [row for row in rows if row.has_figure] or rows)
    return Result(stage, row.status, row.relative, limit=row.limit)


def _say(what: str) -> Callable[[Row], None]:
    return lambda row: print(f"{what} {row.name:<10} {row.status:<8} {row.figure:<32} {row.note}".rstrip())


def _file_line(file: FileResult) -> str:
    figures = f"{file.layers} layers, relL2 {file.worst:.1e}" if file.layers else ""
    return f"lora {file.name:<18} {file.status:<10} {figures:<28} {file.note}".rstrip()
