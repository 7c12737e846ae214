"""Find the recorded call that a call of the port corresponds to."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np

from parity.compare.pairing import Pairing
from parity.run.mlx_taps import arrays, to_numpy
from parity.run.recorded_calls import RecordedCalls


class CallEvents:
    """Counts the calls of each module of the port, and names the reference's call of the same number."""

    def __init__(self, recorded: RecordedCalls, pairing: Pairing):
        self.recorded, self.pairing = recorded, pairing
        self._counts: Counter = Counter()
        self._encodings: dict[str, str] = {}  # the reference's stage, per call of a text encoder

    def __len__(self) -> int:
        """How many modules were called."""
        return len(self._counts)

    def event(self, stage: str, path: str) -> str:
        """The recording's name of the call that begins; empty if it has none."""
        count, paired = self._counts[f"{stage}/{path}"], self.pairing.modules.get(path, "")
        self._counts[f"{stage}/{path}"] += 1
        if not paired:
            return ""
        stage = self._encodings.get(stage, stage)
        options = [f"{stage}/{paired}"] if not count else [f"{stage}/{paired}#{count}", f"{stage}.{count}/{paired}"]
        return next((name for name in options if f"{name}/out/0" in self.recorded.recording), "")

    def begin_encoding(self, component: str, args: tuple, kwargs: dict) -> None:
        """A text encoder is called: find the reference's call with the same token ids."""
        # Which side encodes the negative prompt first is a convention.
        given = [to_numpy(array).reshape(-1) for array in arrays((args, kwargs)) if array.dtype in (mx.int32, mx.int64)]
        stages = [stage for stage in (component, *(f"{component}.{n}" for n in range(1, 9))) if self._tokens(stage)]
        if not given or len(stages) < 2:
            return
        far = {stage: _difference(self._tokens(stage)[0], given[0]) for stage in stages}
        same = [stage for stage in stages if same_tokens(self._tokens(stage)[0], given[0])]
        self._encodings[component] = same[0] if same else min(stages, key=far.__getitem__)
        self.restart(f"{component}/")

    def restart(self, prefix: str) -> None:
        """Count the calls of the modules below ``prefix`` from 0 again."""
        for name in self._counts:
            if name.startswith(prefix):
                self._counts[name] = 0

    def _tokens(self, stage: str) -> list[np.ndarray]:
        names = self.recorded.inputs(f"{stage}/{stage.split('.')[0]}")
        values = [self.recorded.get(name) for name in names]
        return [one.reshape(-1) for one in values if one.dtype.kind != "f"]


def _difference(reference: np.ndarray, own: np.ndarray) -> tuple[int, int]:
    length = min(len(reference), len(own))
    return abs(len(reference) - len(own)), int(np.count_nonzero(reference[:length] != own[:length]))


def same_tokens(reference: np.ndarray, own: np.ndarray) -> bool:
    """Whether two rows of token ids are equal. Padding is masked on both sides, so its length may differ."""
    shorter, longer = sorted((reference, own), key=len)
    length = len(shorter)
    heads = np.array_equal(shorter, longer[:length]) and len(set(longer[length:].tolist())) <= 1
    return heads or np.array_equal(shorter, longer[-length:]) and len(set(longer[:-length].tolist())) <= 1
