"""The recorded tensors of one call, and how far the port's tensors are from them."""

from __future__ import annotations

import numpy as np

from parity.compare.alignment import align, layouts
from parity.compare.calls import row_of
from parity.metrics import Distance, distance
from parity.record.recording import Recording, is_denoiser
from parity.run.run_state import RunState


class RecordedCalls:
    """Reads the tensors of a recording's calls as the port's current call sees them.

    An ``event`` is the recording's name of a call. If a call of the reference predicts several pictures
    at once, the port's call may be one row of it.
    """

    def __init__(self, recording: Recording, state: RunState):
        self.recording, self.state = recording, state
        self._channels_last: set[str] = set()  # events of MLX's own modules that have channels last

    def results(self, event: str) -> list[str]:
        """The recording's names for a call's results."""
        return self._all(f"{event}/out")

    def inputs(self, event: str) -> list[str]:
        """The recording's names for a call's inputs."""
        return self._all(f"{event}/in")

    def has_channels_last(self, event: str) -> None:
        """Note that the port's module of this call takes and returns channels last."""
        self._channels_last.add(event)

    def is_channels_last(self, name: str) -> bool:
        """Whether a tensor belongs to a call whose module in the port has channels last."""
        return name.rsplit("/", 2)[0] in self._channels_last

    def get(self, name: str) -> np.ndarray:
        """A recorded tensor; if a call predicts several pictures at once, only the row of the port's call."""
        values = self.recording.get(name)
        known = [branch for branch in self.state.branches if branch is not None]
        if not known or len(self.state.branches) > 1 or not is_denoiser(name):
            return values
        return row_of(values, known[0].row, known[0].rows) if self.recording.event(name).stride == 1 else values

    def thinned(self, event: str) -> bool:
        """Whether only a part of the numbers of a call's input was recorded."""
        return any(self.recording.event(name).stride > 1 for name in self.inputs(event))

    def outputs(
        self, event: str, results: list[np.ndarray], root: bool = False, repeats: bool = False
    ) -> Distance | None:
        """The worst distance of a call's results from the reference's; None when none of them can be compared.

        A component's own output may have another sign, or be one of several hidden states.
        """
        names = self.results(event)
        worst: Distance | None = None
        for n, own in enumerate(self._as_recorded(names, results)):
            found = self.against(names[n], own, repeats) if n < len(names) and not root else None
            if found is None or root:
                found = self.nearest(names, own, repeats, root)
            if found and (worst is None or not worst.relative >= found.relative):
                worst = found
        return worst

    def nearest(self, names: list[str], own: np.ndarray, repeats: bool, signs: bool) -> Distance | None:
        """The distance from the nearest of several recorded tensors, of either sign if ``signs``."""
        options = (own, -own) if signs else (own,)
        found = [self.against(name, values, repeats) for name in names for values in options]
        return min((item for item in found if item), key=lambda item: item.relative, default=None)

    def against(self, name: str, own: np.ndarray, repeats: bool = False) -> Distance | None:
        """The distance from one recorded tensor in its best layout, or None if no layout fits."""
        event = self.recording.event(name)
        if event is None:
            return None
        reference = self.get(name)
        if event.stride == 1:
            found = align(reference, own, repeats, self.is_channels_last(name))
            return found[1] if found else None
        moved = [item.to_reference(own).reshape(-1)[:: event.stride] for item in layouts(event.shape, own.shape)]
        return min((distance(reference, item) for item in moved), key=lambda item: item.relative, default=None)

    def _as_recorded(self, names: list[str], results: list[np.ndarray]) -> list[np.ndarray]:
        """Join results along the last axis if the reference has one tensor and splits it later."""
        if len(names) != 1 or len(results) < 2 or any(one.shape[:-1] != results[0].shape[:-1] for one in results):
            return results
        whole = np.concatenate(results, axis=-1)
        return [whole] if whole.size == int(np.prod(self.recording.event(names[0]).shape)) else results

    def _all(self, prefix: str) -> list[str]:
        names, n = [], 0
        while f"{prefix}/{n}" in self.recording:
            names.append(f"{prefix}/{n}")
            n += 1
        return names
