"""Judge an edit pipeline in stages: the input images on their way to the transformer, then the stages of every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from parity.answers import ABSENT, ENCODERS, FAIL, NOT_RUN
from parity.compare import edit as compare
from parity.compare.claim_row import Row
from parity.compare.limits import Limits
from parity.compare.pairing import Pairing
from parity.errors import ParityError
from parity.record.recording import Recording
from parity.run.forced_run import CONDITION, PREPROCESS
from parity.run.mlx_port import Port
from parity.run.run_trace import Comparison, RunTrace
from parity.run.stages import Judge, first_line

BEFORE, AFTER = ("vae_encode",), ("transformer", "guidance", "scheduler", "loop", "vae_decode", "end_to_end")


def judge(port: Port, recording: Recording, say: Callable[[Row], None]) -> list[Row]:
    """A row for each stage, in the order in which a run comes to it."""
    facts = recording.facts
    if not facts.get("images"):
        raise ParityError(f"{recording.path} has no input image; run run_reference.py --edit")
    rows: list[Row] = []
    for row in _rows(Judge(port, recording, Limits("float32"), Pairing(), bisect=False)):
        rows.append(row)
        say(row)
    return rows


def _rows(judged: Judge) -> Iterator[Row]:
    trace = judged.forced()
    # Rows in another order are right with their positions: then the transformer's result is.
    right = _stage(judged, "transformer").status != FAIL
    yield _of_images(judged, trace)
    yield from (_stage(judged, name) for name in BEFORE)
    yield _of_condition(judged, trace)
    yield from compare.order(judged.reference, judged.orders.conditions, right)
    yield from compare.positions(judged.reference, judged.orders.first, right)
    encoders = [name for name in ENCODERS if judged.port.component(name) is not None or name == ENCODERS[0]]
    yield from (_stage(judged, name) for name in encoders)
    guided = judged.recording.facts["applied"]["branches"] > 1
    yield from (_stage(judged, name) for name in AFTER if name != "guidance" or guided)


def _of_images(judged: Judge, trace: RunTrace) -> Row:
    seen = trace.of(f"{PREPROCESS}/")
    if not seen:
        return _not_seen("preprocess", trace, "the port's VAE encodes no image")
    pictures = [path for path, _ in judged.recording.facts["images"]]
    return compare.pixels([(int(item.name.split("/")[1].split(".")[1]), item) for item in seen], pictures)


def _of_condition(judged: Judge, trace: RunTrace) -> Row:
    seen = trace.of(f"{CONDITION}/")
    if not seen:
        return _not_seen("condition", trace, "the port's transformer is not given the images' latents")
    return compare.condition(judged.reference, max(seen, key=_badness))


def _badness(item: Comparison) -> float:
    return item.distance.relative if item.distance.relative == item.distance.relative else np.inf


def _not_seen(name: str, trace: RunTrace, note: str) -> Row:
    if trace.failure:
        stage, error = trace.failure
        note = f"{stage} raised {type(error).__name__}: {first_line(error)}"
    return compare.missing(name, note)


def _stage(judged: Judge, name: str) -> Row:
    result = judged.judge(name)
    limited = result.tensor and result.status not in (ABSENT, NOT_RUN)
    return Row(name, result.status, *((result.relative, result.limit) if limited else ()), note=result.note)
