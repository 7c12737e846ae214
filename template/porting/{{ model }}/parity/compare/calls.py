"""The reference's predictions one by one: the inputs and the result of each, and the prompt that it was made for.

A pipeline may predict the conditional and the unconditional picture in one call or in two, in either order: a
``Branch`` is one of them, no matter which call contains it. Branches of both sides are matched by their prompt
embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from parity.compare import guidance_formula
from parity.compare.alignment import layouts
from parity.compare.prompts import without_padding
from parity.latent_orders import Order
from parity.metrics import relative_error
from parity.record.recording import Recording

FIRST_LATENTS = "loop/scheduler.0/in/1"
FEW = 4  # a tensor of at most this many numbers is a timestep or a scale
NEAR = 0.5  # two tensors that are further apart than this are different
ALIKE = 0.05  # the same tensor: rounded, or from an encoder that is nearly right
FAR = 2.0  # two related tensors are closer than this
MOST = 4  # up to this many branches are paired by trying all ways


@dataclass(frozen=True)
class Branch:
    """One row of one call. ``stage`` is the recording's name of the call, ``inputs`` its arguments by event name."""

    component: str
    stage: str
    row: int
    rows: int
    inputs: dict[str, np.ndarray]
    names: dict[str, str]
    latents: str

    conditions: dict[str, np.ndarray] = field(default_factory=dict)  # for an edit pipeline: the ids of encoded images

    @property
    def prompts(self) -> dict[str, np.ndarray]:
        """The inputs made from the prompt: everything but latents, encoded images, scalars, ids and masks."""
        others = {self.latents, *self.conditions}
        return {name: values for name, values in self.inputs.items() if name not in others and is_prompt(values)}

    @property
    def times(self) -> dict[str, np.ndarray]:
        """The timestep and other scalars."""
        small = {name: values for name, values in self.inputs.items() if values.dtype.kind == "f"}
        return {name: values for name, values in small.items() if name != self.latents and values.size <= FEW}


class ReferenceCalls:
    """Reads the branches of each step from a recording."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.size = int(np.prod(recording.event(FIRST_LATENTS).shape)) if FIRST_LATENTS in recording else 0
        self._steps: dict[int, list[Branch]] = {}

    @property
    def sign(self) -> float:
        """1 if the scheduler gets the transformer's prediction, -1 if it gets its negative."""
        return float(self.recording.facts["sign"])

    def order(self, component: str, side: str) -> Order | None:
        """The map from one row of a transformer's latents ("in") or of its result ("out") to the loop's latents."""
        name = f"layout/{component}/{side}/0"
        return Order(self.recording.get(name)) if name in self.recording else None

    def branches(self, step: int) -> list[Branch]:
        """All predictions of one step, in the order of the calls."""
        if step not in self._steps:
            stages = [stage for stage in self.recording.facts["arguments"] if stage.split(".")[1] == str(step)]
            self._steps[step] = [branch for stage in stages for branch in self._branches(stage)]
        return self._steps[step]

    def latents(self, branch: Branch) -> np.ndarray | None:
        """A branch's input latents, in the order of the loop."""
        order = self.order(branch.component, "in")
        return order and order.to_source(branch.inputs[branch.latents], self.size)

    @property
    def encoded(self) -> list[str]:
        """The events of the VAE's results for the input images, in their order; empty if there are none."""
        if not self.recording.facts.get("images"):
            return []
        names = [event.name for event in self.recording.events if event.stage.partition(".")[0] == "vae_encode"]
        return [name for name in names if name.endswith("/vae/out/0")]

    @property
    def condition_size(self) -> int:
        """The number of latents of all input images."""
        return sum(int(np.prod(self.recording.event(name).shape)) for name in self.encoded)

    def condition(self, branch: Branch) -> np.ndarray:
        """The images' latents in a branch's inputs, in the order of the VAE; NaN for those that are left out."""
        found = np.full(self.condition_size, np.nan, np.float32)
        for name, ids in branch.conditions.items():
            part = Order(ids).to_source(branch.inputs[name], len(found))
            found = np.where(np.isnan(part), found, part)
        return found

    def condition_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """The pipeline's shift and factor (applied first) for each of these latents; 0 for latents it leaves out."""
        found = {"shift": np.zeros(self.condition_size, np.float32), "scale": np.zeros(self.condition_size, np.float32)}
        for event in self.recording.events:
            kind = event.port.split("/")[0].removeprefix("condition.") if event.stage == "layout" else ""
            if kind in found:
                found[kind] = np.where(found[kind] == 0, self.recording.get(event.name), found[kind])
        return found["shift"], found["scale"]

    def output(self, branch: Branch) -> np.ndarray | None:
        """A branch's prediction in the order of the loop, as the scheduler would be given it."""
        order, values = self.order(branch.component, "out"), self.result(branch)
        order = order.of_size(values.size) if order is not None and values is not None else None
        return None if order is None else self.sign * order.to_source(values, self.size)

    def result(self, branch: Branch) -> np.ndarray | None:
        """A branch's prediction as the transformer returned it."""
        prefix = f"{branch.stage}/{branch.component}/out"
        if f"{prefix}/0" not in self.recording:
            return None
        first = self.recording.event(f"{prefix}/0")
        if branch.rows > 1 and f"{prefix}/{branch.rows - 1}" not in self.recording:
            return self.recording.get(first.name)[branch.row : branch.row + 1]
        return self.recording.get(f"{prefix}/{branch.row if branch.rows > 1 else 0}")

    def prediction(self, step: int) -> np.ndarray | None:
        """The scheduler's input, in the order of the loop."""
        name = f"loop/scheduler.{step}/in/0"
        return self.recording.get(name).reshape(-1) if name in self.recording else None

    def conditional(self, step: int = 0) -> int:
        """The index of the prompt's own branch: the one that guidance moves towards."""
        branches = self.branches(step)
        outputs = [self.output(branch) for branch in branches]
        if len(branches) < 2 or any(output is None for output in outputs):
            return 0
        factors, _ = guidance_formula.fit(outputs, self.prediction(step))
        return int(np.argmax(factors))

    def like(self, known: Branch, place: int, step: int) -> Branch | None:
        """The branch of another step with the prompt of ``known``, which has the index ``place`` in its own step."""
        branches = self.branches(step)
        if len(branches) == len(self.branches(0)):
            return branches[place]
        wanted = [values.tobytes() for values in known.prompts.values()]
        return next((one for one in branches if [v.tobytes() for v in one.prompts.values()] == wanted), None)

    def _branches(self, stage: str) -> list[Branch]:
        component = stage.split(".")[0]
        names, known = self.recording.facts["arguments"][stage], self.recording.facts["denoisers"].get(component)
        prefix = f"{stage}/{component}/in"
        events = {f"{prefix}/{n}": name for n, name in enumerate(names)}
        values = {event: self.recording.get(event) for event in events if event in self.recording}
        if known is None or len(values) < len(events):
            return []
        groups: dict[str, list[str]] = {}
        for event, name in events.items():
            groups.setdefault(name.partition(".")[0], []).append(event)
        latents = groups.get(known["latents"], [])
        if not latents:
            return []
        rows = len(latents) if known["listed"] else len(values[latents[0]])
        return [self._branch(stage, row, rows, groups, values, known) for row in range(rows)]

    def _branch(self, stage: str, row: int, rows: int, groups: dict, values: dict, known: dict) -> Branch:
        inputs, names, latents = {}, {}, ""
        for name, events in groups.items():
            listed = known["listed"] and len(events) == rows
            for event in [events[row]] if listed else events:
                inputs[event] = values[event] if listed else row_of(values[event], row, rows)
                names[event] = name
                latents = event if name == known["latents"] else latents
        return Branch(
            stage.split(".")[0], stage, row, rows, inputs, names, latents, self._conditions(inputs, row, rows)
        )

    def _conditions(self, inputs: dict[str, np.ndarray], row: int, rows: int) -> dict[str, np.ndarray]:
        found = {}
        for name, values in inputs.items():
            stage, _, _, number = name.split("/")
            known = f"layout/{stage.split('.')[0]}/condition.ids/{number}"
            if known in self.recording:
                ids = row_of(self.recording.get(known), row, rows)
                found |= {name: ids} if ids.shape == values.shape else {}
        return found


def row_of(values: np.ndarray, row: int, rows: int) -> np.ndarray:
    """One row of a batch, with its first axis; a tensor that is not a batch of ``rows`` is shared by all rows."""
    return values[row : row + 1] if rows > 1 and values.ndim and len(values) == rows else values


def rows_of(values: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The rows of a result: a batch in one tensor, or a tensor for each row."""
    return values if len(values) == count > 1 else [row_of(values[0], row, count) for row in range(count)]


def joined(rows: list[np.ndarray], own: np.ndarray) -> np.ndarray:
    """The rows as one batch in the shape of ``own``; of rows that share one array, the first."""
    whole = len(rows) > 1 and rows[0].size != own.size
    return np.concatenate(rows).reshape(own.shape) if whole else rows[0].reshape(own.shape)


def is_prompt(values: np.ndarray) -> bool:
    """Whether an input may be prompt embeddings: floats in rows, and no mask.

    Some pipelines take zeros as the unconditional prompt. A mask of one row has no ones only if it hides everything.
    """
    wide = values.dtype.kind == "f" and values.size > FEW and values.shape[-1] > FEW
    return wide and (not np.isin(values, (0.0, 1.0)).all() or (values.ndim == 3 and not values.any()))


def pair(reference: Sequence[Branch], own: Sequence[tuple[str, Sequence[np.ndarray]]]) -> list[int | None]:
    """For each of the port's branches (its component and its prompt arrays), the index of the reference's branch, or
    None.

    All ways to pair them are tried; if the prompts do not decide, the order of the calls does.
    """
    far = [[_far(branch, component, arrays) for branch in reference] for component, arrays in own]
    places = [*range(len(reference)), *[None] * max(0, len(own) - len(reference))]
    if len(places) > MOST:
        return [n if n < len(reference) else None for n in range(len(own))]
    ways = dict.fromkeys(permutations(places, len(own)))
    return list(
        min(ways, key=lambda way: sum(far[n][place] if place is not None else FAR for n, place in enumerate(way)))
    )


def _far(branch: Branch, component: str, arrays: Sequence[np.ndarray]) -> float:
    other = FAR if component != branch.component else 0.0
    # An array with a shape that no reference input has is a table that the reference makes inside its transformer.
    gaps = [[gap for values in branch.prompts.values() if (gap := _gap(values, array)) is not None] for array in arrays]
    return other + sum(min(known) for known in gaps if known)


def _gap(reference: np.ndarray, own: np.ndarray) -> float | None:
    """The distance between two prompts; None for tensors of different widths.

    If one has fewer rows, only the rows that both have are compared, at either end.
    """
    if reference.size == own.size and layouts(reference.shape, own.shape):
        return min(FAR, relative_error(reference, own.reshape(reference.shape)))
    if reference.shape[-1] != own.shape[-1]:
        return None
    one, other = reference.reshape(-1, reference.shape[-1]), own.reshape(-1, own.shape[-1])
    rows = min(len(one), len(other))
    ends = (one[:rows], other[:rows]), (one[-rows:], other[-rows:])
    # Prompts of different lengths count as further apart than those of one length, even if they are equally near.
    return min(FAR, 0.5 + min(relative_error(a, b) for a, b in ends))


def placed(reference: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """The reference's rows in the shape of the port's array: the port's padding stays.

    None when the rows do not fit.
    """
    if reference.size == own.size:
        found = layouts(reference.shape, own.shape)
        return found[0].to_mlx(reference) if found else None
    if reference.shape[-1] != own.shape[-1] or reference.size > own.size:
        return None
    rows, kept = reference.reshape(-1, own.shape[-1]), np.array(own, np.float32).reshape(-1, own.shape[-1])
    count = len(rows)
    ends = (slice(0, count), slice(len(kept) - count, len(kept)))
    gaps = [relative_error(rows, kept[end]) for end in ends]
    kept[ends[int(np.argmin(gaps))]] = rows
    return kept.reshape(own.shape)


def _nearest(options: list[np.ndarray], own: np.ndarray) -> tuple[float, np.ndarray | None]:
    """The nearest prompt input, in the port's shape.

    Rows of a longer array count as the prompt only if they are close to it.
    """
    found = []
    for values in options:
        moved = placed(values, own)
        if moved is None:
            continue
        gap = relative_error(own, moved)
        if values.size == own.size or gap < NEAR:
            found.append((gap, moved))
    return min(found, key=lambda item: item[0], default=(np.inf, None))


@dataclass(frozen=True)
class PromptMatch:
    """One of the reference's prompt inputs, ``name``, and the port's array for it.

    ``reference`` is in the port's shape; None when the port has a different number of rows.
    """

    name: str
    own: np.ndarray
    gap: float
    reference: np.ndarray | None


def match_prompts(branch: Branch, own: dict[int, np.ndarray]) -> dict[int, PromptMatch]:
    """Match each array of the port that may be a prompt input of a branch with the nearest such input, each once."""
    found: list[tuple[float, int, int, PromptMatch]] = []
    short = without_padding(branch.inputs, branch.inputs)
    for order, (name, values) in enumerate(branch.prompts.items()):
        for n, array in own.items():
            gap, moved = _nearest([one for one in (values, short.get(name)) if one is not None], array)
            if moved is not None:
                found.append((gap, order, n, PromptMatch(name, array, gap, moved)))
            elif array.ndim > 1 and array.shape[-1] == values.shape[-1]:
                found.append((np.inf, order, n, PromptMatch(name, array, np.inf, None)))
    chosen: dict[int, PromptMatch] = {}
    for _, _, n, match in sorted(found, key=lambda item: item[:3]):
        if n not in chosen and match.name not in {other.name for other in chosen.values()}:
            chosen[n] = match
    return chosen | _in_their_order(branch, own, chosen)


def _in_their_order(
    branch: Branch, own: dict[int, np.ndarray], chosen: dict[int, PromptMatch]
) -> dict[int, PromptMatch]:
    """Match several inputs of one shape in order, if they are one list or one resembles none of the reference's.

    Values can match inputs only as long as they are right.
    """
    found: dict[int, PromptMatch] = {}
    for shape in {array.shape for array in own.values()}:
        places = [n for n, array in own.items() if array.shape == shape]
        names = [name for name, values in branch.prompts.items() if values.shape == shape]
        listed = len({branch.names[name] for name in names}) == 1
        unlike = any(n not in chosen or chosen[n].gap > ALIKE for n in places)
        if len(places) == len(names) > 1 and (unlike or listed):
            for n, name in zip(places, names, strict=True):
                gap, moved = _nearest([branch.prompts[name]], own[n])
                found[n] = PromptMatch(name, own[n], gap, moved)
    return found
