"""The inputs of the port's transformer in a run: compared with the reference's, and replaced by them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from parity.compare.calls import FEW, Branch, PromptMatch, joined, match_prompts, row_of
from parity.compare.prompts import marks, other_length
from parity.latent_orders import Order
from parity.run.forced_conditions import ForcedConditions
from parity.run.mlx_taps import arrays, to_numpy
from parity.run.run_state import FREE, RunState
from parity.run.run_trace import LATENTS

ROUNDING = 1e-5
INSIDE = ("rotary", "rope", "freq", "cos", "sin", "pos", "ids")  # tables that a port makes inside its transformer


class ForcedInputs:
    """Replaces the arguments of one call of the transformer, and remembers which prompts it was given."""

    def __init__(self, state: RunState):
        self.state = state
        self.conditions = ForcedConditions(state)
        self.other_length: set[int] = set()  # rows whose prompt length differs from the reference's
        self._taken: set[str] = set()
        self._masks: list[np.ndarray] = []

    def replaced(self, component: str, given: list[mx.array]) -> list[mx.array]:
        """The arrays of a call with the reference's values in them. A free run keeps the port's prompts."""
        self.other_length.clear()
        self.state.placed = []
        self._masks = marks(map(to_numpy, given))
        place, order = self.state.orders.inputs.get(component, (None, None))
        new = list(given)
        if place is not None and place < len(given):
            new[place] = self._latents(given[place], order)
        for n, array in self.conditions.replaced(component, new).items():
            if self.state.force != FREE:
                new[n] = self._place(mx.array(array), self.state.widened(given[n].dtype))
        known = {place, *self.conditions.places(component)}
        free = [n for n, array in enumerate(given) if mx.issubdtype(array.dtype, mx.floating) and n not in known]
        small = [n for n in free if 0 < given[n].size <= FEW]
        for n in small:
            new[n] = self._timestep(given[n], first=n == small[0])
        wide = [n for n in free if given[n].size > FEW or given[n].size == 0 < given[n].ndim - 1]
        for n, array in self._prompts([(n, to_numpy(given[n])) for n in wide]).items():
            if self.state.force != FREE:
                new[n] = self._place(mx.array(array), self.state.widened(given[n].dtype))
        return new

    def compare_prompts(self, args: tuple, kwargs: dict) -> None:
        """Compare the prompt embeddings for a transformer that cannot be called yet."""
        self.state.stage = "transformer"
        given = [to_numpy(array) for array in arrays((args, kwargs)) if mx.issubdtype(array.dtype, mx.floating)]
        wide = {n: values for n, values in enumerate(given) if values.size > FEW}
        for branch in self.state.calls.branches(0):
            for match in match_prompts(branch, wide).values():
                self._compare_prompt(branch, match)

    def unused(self) -> list[str]:
        """Prompt inputs that the reference's transformer gets and the port's does not."""
        known = {
            branch.names[name]: f"{branch.names[name]} ({name.split('/', 2)[2]}, {list(values.shape)})"
            for branch in self.state.calls.branches(0)
            for name, values in branch.prompts.items()
        }
        return [
            text
            for name, text in known.items()
            if name not in self._taken and not any(word in name.lower() for word in INSIDE)
        ]

    def _place(self, values: mx.array, dtype: mx.Dtype) -> mx.array:
        given = values.astype(dtype)
        self.state.placed.append((given, values.astype(mx.float32)))
        return given

    def _latents(self, array: mx.array, order: Order) -> mx.array:
        state = self.state
        if not state.forced:
            return array
        own, count = to_numpy(array), len(state.branches)
        rows = [row_of(own, row, count) for row in range(count)]
        moved = [self._latents_of(branch, row, order) for branch, row in zip(state.branches, rows, strict=True)]
        return self._place(mx.array(joined(moved, own)), state.widened(array.dtype))

    def _latents_of(self, branch: Branch | None, row: np.ndarray, order: Order) -> np.ndarray:
        wanted = self.state.calls.latents(branch) if branch is not None else None
        if wanted is None or row.size != order.ids.size:
            return row
        name = f"{LATENTS}/{branch.latents.split('/', 1)[1]}"
        self.state.compare(name, wanted, order.to_source(row, self.state.calls.size))
        return order.of_source(wanted, row)

    def _timestep(self, array: mx.array, first: bool) -> mx.array:
        # A sinusoid of 1000 times the timestep amplifies float32 rounding 1000 times. Only that is removed: a
        # timestep that differs by more stays the port's.
        known = [branch for branch in self.state.branches if branch is not None]
        if not known or array.size not in (1, len(self.state.branches)):
            return array
        own = to_numpy(array).reshape(-1)
        times = [float(values.reshape(-1)[0]) for values in known[0].times.values()]
        for wanted in times:
            if np.allclose(own, wanted, rtol=ROUNDING, atol=0):
                return self._place(mx.full(array.shape, wanted), array.dtype)
        if times and first:
            self.state.trace.timesteps.append((times[0], float(own[0])))
        return array

    def _prompts(self, given: list[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
        """The reference's prompt embeddings that replace the port's, by argument; compared in the first step."""
        count = len(self.state.branches)
        rows = {n: [row_of(own, row, count) for row in range(count)] for n, own in given}
        changed: set[int] = set()
        for at, branch in enumerate(self.state.branches):
            if branch is not None:
                changed |= self._replace_prompts(branch, at, rows)
        return {n: joined(rows[n], own) for n, own in given if n in changed}

    def _replace_prompts(self, branch: Branch, at: int, rows: dict[int, list[np.ndarray]]) -> set[int]:
        """Put one branch's prompt embeddings into row ``at`` of the arguments. Returns which arguments changed."""
        changed = set()
        for n, match in match_prompts(branch, {n: own[at] for n, own in rows.items()}, self._masks).items():
            self._taken.add(branch.names[match.name])
            if self.state.step == 0:
                self._compare_prompt(branch, match)
            if match.reference is None:
                self.other_length.add(at)
            else:
                rows[n][at] = match.reference.reshape(rows[n][at].shape)
                changed.add(n)
        return changed

    def _compare_prompt(self, branch: Branch, match: PromptMatch) -> None:
        label = f"prompt/{match.name.split('/', 1)[1]}"
        if match.reference is not None:
            self.state.compare(label, match.reference, match.own)
            return
        reference = branch.inputs[match.name] if match.rows is None else match.rows
        parameters = self.state.recording.facts.get("parameters", ())
        self.state.not_comparable(label, reference, match.own, other_length(reference, match.own, parameters))
