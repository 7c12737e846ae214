"""The encoded input images in the inputs of the port's transformer: compared with the reference's, and replaced."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from parity.compare.calls import Branch, row_of
from parity.latent_orders import Order
from parity.metrics import distance
from parity.run.mlx_taps import to_numpy
from parity.run.run_state import RunState
from parity.run.run_trace import CONDITION, Comparison


class ForcedConditions:
    """Replaces the encoded input images in the transformer's arguments with the reference's."""

    def __init__(self, state: RunState):
        self.state = state

    def places(self, component: str) -> set[int]:
        """The arguments that hold encoded images."""
        return set(self.state.orders.conditions.get(component, ()))

    def replaced(self, component: str, given: list[mx.array]) -> dict[int, np.ndarray]:
        """These arguments with the reference's values; compared in the first step."""
        known = self.state.orders.conditions.get(component, {})
        fitting = [n for n, order in known.items() if n < len(given) and given[n].size == order.ids.size]
        arrays = {n: to_numpy(given[n]) for n in fitting}
        for at, branch in enumerate(self.state.branches):
            if branch is not None and branch.conditions:
                self._replace(f"{CONDITION}/{component}/in/{at}", branch, at, arrays, known)
        return arrays

    def _replace(self, name: str, branch: Branch, at: int, arrays: dict[int, np.ndarray], known: dict) -> None:
        """Put one branch's images into row ``at`` of the arrays."""
        calls, count = self.state.calls, len(self.state.branches)
        wanted, own = calls.condition(branch), np.full(calls.condition_size, np.nan, np.float32)
        for n, array in arrays.items():
            order = Order(row_of(known[n].ids, at, count))
            row = row_of(array, at, count)
            part = order.to_source(row, len(own))
            own = np.where(np.isnan(part), own, part)
            moved = order.of_source(np.where(np.isnan(wanted), own, wanted), row)
            if moved.shape == array.shape:
                array[...] = moved
            else:
                array[at : at + 1] = moved
        if self.state.step == 0:
            self._compare(name, wanted, own)

    def _compare(self, name: str, wanted: np.ndarray, own: np.ndarray) -> None:
        known = [~np.isnan(values) for values in (wanted, own)]
        theirs, mine = (int(np.count_nonzero(one)) for one in known)
        both = known[0] & known[1]
        if theirs != mine or not both.any():
            note = f"{mine} latents of the images, the reference's transformer gets {theirs}"
            self.state.not_comparable(name, wanted, own, note)
        else:
            self.state.trace.seen.append(Comparison(name, wanted, own, distance(wanted[both], own[both])))
