"""The port's transformer in a run: its predictions are compared, and the loop goes on with the reference's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from parity.compare.calls import Branch, joined, rows_of
from parity.compare.limits import FLOAT32
from parity.latent_orders import Order
from parity.metrics import Distance, distance
from parity.run.forced_inputs import ForcedInputs
from parity.run.mlx_taps import arrays, to_numpy
from parity.run.run_state import RunState
from parity.run.run_trace import rebuild


class ForcedTransformer:
    """``steps`` are the steps in which it runs: in all others, the reference's predictions are its result.

    ``in_float32``: predictions are computed a second time in float32, which shows what the rounding of bfloat16 hides.
    """

    def __init__(self, state: RunState, steps: set[int] | None, in_float32: bool):
        self.state, self.steps, self.in_float32 = state, steps, in_float32
        self.inputs = ForcedInputs(state)
        self.component = ""  # the transformer, of several, that is called now
        self._like = None  # the last result: an array, or what a port returns instead
        self._calls: Counter = Counter()  # the calls of this step

    def begin_step(self) -> None:
        """Count the calls of the next step from 0."""
        self._calls.clear()

    def enter(self, component: str, args: tuple, kwargs: dict) -> tuple[tuple, dict, object]:
        """The transformer's arguments with the reference's values in them, or its result when it need not run."""
        state = self.state
        state.progress(f"{component}, step {state.step + 1} of {state.recording.facts['steps']}")
        state.stage, self.component = "transformer", component
        state.branches = self._branches(component)
        replaced = self.inputs.replaced(component, list(arrays((args, kwargs))))
        args, kwargs = rebuild((args, kwargs), iter(replaced))
        skipped = state.forced and self.steps is not None and state.step not in self.steps
        return args, kwargs, self._skipped_result(replaced) if skipped else None

    def leave(self, result, again: Callable | None = None):
        """Compare the transformer's result for the reference's input, and return the reference's own result.

        ``again`` computes it in float32; None if it is already known.
        """
        self.state.stage = "loop"
        if not self.state.forced:
            return result
        given = list(arrays(result))
        self._like = result
        values = [to_numpy(array) for array in given]
        for branch, row in self._judged(values):
            self._compare(branch, row)
        if again is not None and self.in_float32:
            self._compare_float32(again)
        handed = self._predictions(values)
        # Guidance gets them in float32: rounded ones would hide a formula that is nearly right.
        self.state.prediction = self.state.widened(given[0].dtype)
        new = [mx.array(new) for new in handed]
        return rebuild(result, iter(new))

    def distance(self, results: list[np.ndarray]) -> Distance | None:
        """The largest distance of the results from the reference's predictions."""
        found = [self._distance(branch, row) for branch, row in self._judged(results)]
        known = [item[2] for item in found if item is not None]
        return max(known, key=lambda gap: gap.relative if gap.relative == gap.relative else np.inf, default=None)

    def _branches(self, component: str) -> list[Branch | None]:
        """The reference's branch for each row of the call that begins."""
        call = self._calls[component]
        self._calls[component] += 1
        rows = [key[2] for key in self.state.orders.branches if key[:2] == (component, call)]
        return [self._branch(component, call, row) for row in range(max(rows, default=0) + 1)]

    def _branch(self, component: str, call: int, row: int) -> Branch | None:
        calls = self.state.calls
        place, first = self.state.orders.branches.get((component, call, row)), calls.branches(0)
        return calls.like(first[place], place, self.state.step) if place is not None and place < len(first) else None

    def _judged(self, results: list[np.ndarray]) -> list[tuple[Branch, np.ndarray]]:
        """The rows of a result that were made from the reference's input, with the reference's result."""
        rows = rows_of(results, len(self.state.branches))
        return [
            (branch, row)
            for at, (branch, row) in enumerate(zip(self.state.branches, rows, strict=True))
            if branch is not None and at not in self.inputs.other_length
        ]

    def _compare_float32(self, again: Callable) -> None:
        results, casts = again(self.state.placed)
        for branch, row in [] if casts or not results else self._judged(results):
            found = self._distance(branch, row)
            if found is not None:
                self.state.compare(f"{FLOAT32}{_name(branch)}", *found[:2])

    def _compare(self, branch: Branch, own: np.ndarray) -> None:
        found, result, name = self._distance(branch, own), self.state.calls.result(branch), _name(branch)
        if found is not None:
            self.state.compare(name, *found[:2])
        elif result is not None and branch.component in self.state.orders.outputs:
            self.state.other_shape(name, result, own)

    def _distance(self, branch: Branch, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, Distance] | None:
        """A prediction on both sides in the loop's order, and how far apart they are."""
        state = self.state
        wanted, order = state.calls.output(branch), self._order(branch.component, own.size)
        if wanted is None or order is None:
            return None
        mine = state.orders.sign * order.to_source(own, state.calls.size)
        shape = state.recording.event(f"loop/scheduler.{state.step}/in/0").shape
        return wanted.reshape(shape), mine.reshape(shape), distance(wanted, mine)

    def _order(self, component: str, size: int) -> Order | None:
        known = self.state.orders.outputs.get(component)
        return known.of_size(size) if known is not None else None

    def _predictions(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """The reference's predictions in the port's layout, for the rows of the current call.

        A prediction that the reference does not make (of a negative prompt, without guidance) gets that of the prompt.
        """
        calls, step = self.state.calls, self.state.step
        spare = calls.branches(step)
        rows = []
        for branch, own in zip(self.state.branches, rows_of(values, len(self.state.branches)), strict=True):
            branch = branch or (spare[calls.conditional(step)] if spare else None)
            wanted = calls.output(branch) if branch is not None else None
            order = self._order(self.component, own.size)
            usable = wanted is not None and order is not None
            rows.append(order.of_source(self.state.orders.sign * wanted, own) if usable else own)
        return [joined(rows, values[0])] if len(values) == 1 else rows

    def _skipped_result(self, given: list[mx.array]) -> mx.array:
        """What the transformer would have returned: the reference's predictions."""
        order, count = self.state.orders.outputs.get(self.component), len(self.state.branches)
        place, _ = self.state.orders.inputs.get(self.component, (None, None))
        array = given[place] if place is not None else max(given, key=lambda array: array.size)
        own = to_numpy(array)
        if order is not None and own.size != count * order.ids.size:
            own = np.zeros((count * len(order.ids), *order.ids.shape[1:]), np.float32)
        prediction = mx.array(self._predictions([own])[0])
        if isinstance(self._like, (list, tuple)) and len(list(arrays(self._like))) == 1:
            return rebuild(self._like, iter([prediction]))  # a list of one array stays a list
        return prediction


def _name(branch: Branch) -> str:
    return f"{branch.stage}/{branch.component}/out/0"
