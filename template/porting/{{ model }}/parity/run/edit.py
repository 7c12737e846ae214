"""Judge an edit pipeline in stages: the input images up to the transformer, then the stages of every run."""

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
from parity.run.mlx_port import Port
from parity.run.run_trace import CONDITION, PREPROCESS, Comparison
from parity.run.stages import Judge, Result, first_line

BEFORE, AFTER = ("vae_encode",), ("transformer", "guidance", "scheduler", "loop", "vae_decode", "end_to_end")


def judge(
    port: Port,
    recording: Recording,
    pairing: Pairing,
    say: Callable[[Row], None],
    waived: Callable[[Result], Result] = lambda result: result,
) -> list[Row]:
    """A row for each stage, in the order of a run.

    ``pairing``: which of the port's parts are the reference's; ``waived`` changes what known differences explain.
    """
    facts = recording.facts
    if not facts.get("images"):
        raise ParityError(f"{recording.path} has no input image; run {recording.made_by}")
    rows: list[Row] = []
    for row in _Rows(Judge(port, recording, Limits("float32"), pairing, bisect=False), waived).all():
        rows.append(row)
        say(row)
    return rows


class _Rows:
    def __init__(self, judged: Judge, waived: Callable[[Result], Result]):
        self.judged, self.waived = judged, waived
        self.trace = judged.forced()

    def all(self) -> Iterator[Row]:
        calls, orders = self.judged.reference, self.judged.orders
        # Rows in another order are right if their positions match: then the transformer's result is right.
        right = self._stage("transformer").status != FAIL
        yield self._of_images()
        yield from map(self._stage, BEFORE)
        yield self._of_condition()
        yield from compare.order(calls, orders.conditions, right)
        yield from compare.positions(calls, orders.first, right)
        further = (name for name in ENCODERS[1:] if self.judged.port.component(name) is not None)
        yield from map(self._stage, (ENCODERS[0], *further))
        guided = self.judged.recording.facts["applied"]["branches"] > 1
        yield from (self._stage(name) for name in AFTER if name != "guidance" or guided)

    def _of_images(self) -> Row:
        seen = self.trace.of(f"{PREPROCESS}/")
        if not seen:
            return self._not_seen("preprocess", "the port's VAE encodes no image")
        pictures = [path for path, _ in self.judged.recording.facts["images"]]
        return compare.pixels([(int(item.name.split("/")[1].split(".")[1]), item) for item in seen], pictures)

    def _of_condition(self) -> Row:
        seen = self.trace.of(f"{CONDITION}/")
        if not seen:
            return self._not_seen("condition", "the port's transformer is not given the images' latents")
        return compare.condition(self.judged.reference, max(seen, key=_badness))

    def _not_seen(self, name: str, note: str) -> Row:
        if self.trace.failure:
            stage, error = self.trace.failure
            note = f"{stage} raised {type(error).__name__}: {first_line(error)}"
        return Row(name, FAIL, note=note)

    def _stage(self, name: str) -> Row:
        result = self.waived(self.judged.judge(name))
        if result.status in (ABSENT, NOT_RUN):  # an edit pipeline needs all of them
            return Row(name, FAIL, note=f"{result.status}: {result.note}")
        return Row(name, result.status, *((result.relative, result.limit) if result.tensor else ()), note=result.note)


def _badness(item: Comparison) -> float:
    return item.distance.relative if item.distance.relative == item.distance.relative else np.inf
