"""One run of the port in which the reference's values replace the port's between the stages.

A run is driven through the port's own ``generate_image``, so a stage is judged alone, whatever the stages before it
do: the noise, each call of the transformer, the guided prediction, each step of the scheduler, the image.
"""

from __future__ import annotations

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

from parity.compare.calls import FEW, Branch, PromptMatch, ReferenceCalls, match_prompts, row_of
from parity.memo import Memo
from parity.metrics import Distance, distance
from parity.orders import Order
from parity.record.recording import Recording, is_denoiser
from parity.run import device, encode, stand_ins
from parity.run.mlx_port import Port
from parity.run.mlx_taps import MlxTaps, Sink, arrays, to_numpy
from parity.run.patches import Patches
from parity.run.port_orders import PortOrders
from parity.run.run_trace import Comparison, Done, RunTrace, call_arguments, forget_prompts, rebuild, scheduler_classes
from parity.run.strips import convolutions_in_strips

FORCED, LOOP, FREE = "forced", "loop", "free"
NOISE = "noise/pipeline/out/0"
ROUNDING = 1e-5
UNKNOWN = Distance(float("nan"), float("nan"), 0.0, float("nan"))  # of tensors that cannot be compared
IMAGE = "vae_decode/vae/out/0"
PREPROCESS, CONDITION = "preprocess", "condition"  # of the input images: their pixels, and what the transformer gets
LATENTS = "latents"  # what the loop passes to the transformer and the scheduler
INSIDE = ("rotary", "rope", "freq", "cos", "sin", "pos", "ids")  # tables that a port makes inside its transformer
NO_BRANCH = "no prediction"


class ForcedRun:
    """One run of the port. ``force`` is FORCED (every stage gets the reference's input), LOOP (only noise and prompt
    embeddings are the reference's) or FREE (only the noise is). ``steps``: the steps in which the transformer runs."""

    def __init__(
        self,
        port: Port,
        recording: Recording,
        force: str,
        calls: ReferenceCalls,
        orders: PortOrders,
        memo: Memo,
        steps: set[int] | None = None,
        sink: Sink | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ):
        self.model, self.residents, self.memo = port.model, port.residents, memo
        self.recording, self.force, self.steps = recording, force, steps
        self.calls, self.orders, self.sink, self.progress = calls, orders, sink or Sink(), progress
        self.decode = True  # whether to continue after the last step
        self.step = 0
        self.crossing = RunTrace()
        self.stage = "text_encoder"
        self.within = ""  # vae_decode or vae_encode, while it runs
        self.branches: list[Branch | None] = []  # the reference's, for each row of the current call
        self.placed: list[tuple[mx.array, mx.array]] = []  # the reference's values in that call: given, and float32
        self._component = ""
        self._like = None  # the transformer's last result: an array, or what a port returns instead
        self._calls: Counter = Counter()
        self._taken: set[str] = set()
        self._other_length: set[int] = set()  # rows whose prompt length differs from the reference's
        self._sigmas: dict[type, property] = {}
        self._skip: set[str] = set()
        self._patches = Patches()

    def run(self, skip: set[str] = frozenset()) -> RunTrace:
        """Generate one image. Stages in ``skip`` get stand-ins that return the reference's result, if possible."""
        self._skip = set(skip)
        forget_prompts(self.model)
        with self._attached():
            try:
                self.model.generate_image(**call_arguments(self.model, self.recording.facts))
            except Done:
                pass
            except Exception as error:  # noqa: BLE001 - a port in the making may raise anything; it is reported
                device.stop_if_lacking(error)
                self.crossing.failure = self.stage, error
                self.crossing.failures = [self.crossing.failure]
        self.crossing.unused = self._unused() if self.step else []
        return self.crossing

    @contextlib.contextmanager
    def _attached(self) -> Iterator[None]:
        try:
            self._patches.set(mx.random, "normal", self._drawing(mx.random.normal))
            self._wrap_schedulers()
            self._wrap_image()
            if self.force != FREE and self.calls.encoded:
                encode.replace(self._patches, self.model, encode.Exchanged(self.calls, self._compare_pixels))
            self._stand_in()
            with convolutions_in_strips(), MlxTaps(self.model, _Gate(self)).attached():
                yield
        finally:
            self._patches.undo()

    def stage_of(self, component: str) -> str:
        """The reference's name for the call that a component is in now."""
        if component == "vae":
            return "vae_encode" if self.within == "vae_encode" else "vae_decode"
        if not is_denoiser(component):
            return component
        known = next((branch for branch in self.branches if branch is not None), None)
        return known.stage if known is not None and component == self._component else NO_BRANCH

    # ------------------------------------------------------------------------------------------------------- the seams

    def _drawing(self, original):
        def normal(shape=(), *args, **kwargs):
            drawn = original(shape, *args, **kwargs)
            noise = self._noise(tuple(drawn.shape))
            return drawn if noise is None else mx.array(noise).astype(drawn.dtype)

        return normal

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The reference's noise for what the port draws, each number in the place of the port's own."""
        links = self.orders.noise
        if links is None or int(np.prod(shape, dtype=np.int64)) != len(links):
            return None
        return self.recording.get(NOISE).reshape(-1)[links].reshape(shape)

    def _wrap_schedulers(self) -> None:
        for kind in scheduler_classes():
            if "step" in vars(kind):
                self._patches.set(kind, "step", self._around_step(kind.step))
            if isinstance(vars(kind).get("sigmas"), property):
                self._sigmas[kind] = vars(kind)["sigmas"]
                self._patches.set(kind, "sigmas", property(lambda own, kind=kind: self._scheduled(own, kind)))
            if isinstance(vars(kind).get("timesteps"), property):
                original = vars(kind)["timesteps"]
                self._patches.set(
                    kind, "timesteps", property(lambda own, original=original: self._timed(own, original.fget(own)))
                )

    def _own_sigmas(self, scheduler) -> mx.array:
        kind = next(kind for kind in type(scheduler).__mro__ if kind in self._sigmas)
        return mx.array(self._sigmas[kind].fget(scheduler))

    def _scheduled(self, scheduler, kind: type) -> mx.array:
        # Only the scheduler is to blame for a wrong schedule: the transformer must not get its timesteps.
        own = self._sigmas[kind].fget(scheduler)
        wanted = self.recording.get("scheduler/scheduler/out/0").reshape(-1)
        if self.force != FORCED or not isinstance(own, mx.array) or own.shape != wanted.shape:
            return own
        return mx.array(wanted).astype(own.dtype)

    def _timed(self, scheduler, own: mx.array) -> mx.array:
        if self.force != FORCED or not isinstance(own, mx.array) or own.ndim != 1:
            return own
        sigmas, wanted = (to_numpy(values)[: own.size] for values in (self._own_sigmas(scheduler), scheduler.sigmas))
        given = to_numpy(own).astype(np.float64)
        if len(sigmas) != own.size or not np.abs(sigmas).max(initial=0.0):
            return own
        factor = float(given @ sigmas / (sigmas @ sigmas))
        same = np.allclose(given, factor * sigmas, rtol=1e-4, atol=1e-4 * abs(factor))
        return mx.array((factor * wanted).astype(np.float32)).astype(own.dtype) if same else own

    def _around_step(self, original):
        signature = inspect.signature(original)

        def step(scheduler, *args, **kwargs):
            bound = signature.bind(scheduler, *args, **kwargs)
            self.stage = "scheduler"
            self._compare_sigmas(scheduler)
            names = f"loop/scheduler.{self.step}"
            guided = "guidance" if self.force == FORCED and "transformer" not in self._skip else ""
            handed_on = LATENTS if self.force == FORCED else ""  # in a forced run they can only be the reference's
            bound.arguments["noise"] = self._exchange(f"{names}/in/0", bound.arguments["noise"], guided)
            bound.arguments["latents"] = self._exchange(f"{names}/in/1", bound.arguments["latents"], handed_on)
            result = original(*bound.args, **bound.kwargs)
            result = self._exchange(f"{names}/out/0", result, "scheduler" if self.force == FORCED else "loop")
            self.step += 1
            self._calls.clear()
            self.stage = "transformer" if self.step < self.recording.facts["steps"] else "vae_decode"
            if self.stage == "vae_decode":
                if self.force == LOOP or not self.decode:
                    raise Done
                self.progress("vae_decode")
            return result

        return step

    def _compare_sigmas(self, scheduler) -> None:
        if self.step:
            return
        wanted = self.recording.get("scheduler/scheduler/out/0").reshape(-1)
        own = to_numpy(self._own_sigmas(scheduler)).reshape(-1)
        length = min(len(wanted), len(own))
        pair = wanted[:length], own[:length]
        self._note("sigmas/scheduler/out/0", *pair, distance(*pair), abs(len(wanted) - len(own)) <= 1)

    def _wrap_image(self) -> None:
        from mflux.utils.image_util import ImageUtil

        def to_image(*args, decoded_latents=None, **kwargs):
            own = to_numpy(decoded_latents if decoded_latents is not None else args[0])
            if IMAGE in self.recording and np.abs(self.recording.get(IMAGE)).max() <= 1:
                own = np.clip(own, -1, 1)  # the reference's decoder clips, mflux clips later
            self.crossing.image = own
            self._compare_image(own)
            raise Done

        self._patches.set(ImageUtil, "to_image", staticmethod(to_image))

    def _compare_pixels(self, number: int, reference: np.ndarray, own: np.ndarray) -> None:
        name = f"{PREPROCESS}/vae.{number}/in/0"
        if encode.squeezed(reference) != encode.squeezed(own):
            return self._other_shape(name, reference, own)
        own = own.reshape(reference.shape)
        self._note(name, reference, own, distance(reference, own))

    def _compare_image(self, own: np.ndarray) -> None:
        unknown = self.force == FORCED and self.orders.loop is None  # it was not made from the reference's latents
        if IMAGE not in self.recording or unknown:
            return
        reference = self.recording.get(IMAGE)
        if tuple(n for n in own.shape if n != 1) != tuple(n for n in reference.shape if n != 1):
            self._other_shape(IMAGE, reference, own)
            return
        own = own.reshape(reference.shape)
        self._note(IMAGE, reference, own, distance(reference, own))

    def _stand_in(self) -> None:
        if "text_encoder" in self._skip:
            stand_ins.encode_prompts(self._patches, self.model, self.calls, self._dtype())
        if "transformer" in self._skip:
            stand_ins.predict(self._patches, self.model, self._look_at_prompts)
            return
        for name in stand_ins.PREDICT:
            predict = inspect.getattr_static(type(self.model), name, None)
            if isinstance(predict, staticmethod):
                self._patches.set(type(self.model), name, staticmethod(self._entering(predict.__func__)))

    def _entering(self, predict):
        # What the loop prepares with the transformer, such as rotary embeddings, is part of the transformer.
        def entering(*args, **kwargs):
            self.stage = "transformer"
            return predict(*args, **kwargs)

        return entering

    def _look_at_prompts(self, args: tuple, kwargs: dict) -> None:
        """Compare the prompt embeddings for a transformer that cannot be called yet."""
        self.stage = "transformer"
        given = [to_numpy(array) for array in arrays((args, kwargs)) if mx.issubdtype(array.dtype, mx.floating)]
        wide = {n: values for n, values in enumerate(given) if values.size > FEW}
        for branch in self.calls.branches(0):
            for match in match_prompts(branch, wide).values():
                self._compare_prompt(branch, match)

    # ------------------------------------------------------------------------------------------------ the transformer

    def enter_transformer(self, component: str, args: tuple, kwargs: dict) -> tuple[tuple, dict, object]:
        """The transformer's arguments with the reference's values in them, or its result when it need not run."""
        self.progress(f"{component}, step {self.step + 1} of {self.recording.facts['steps']}")
        args, kwargs = self._enter(component, args, kwargs)
        skipped = self.force == FORCED and self.steps is not None and self.step not in self.steps
        return args, kwargs, self._skipped_result(list(arrays((args, kwargs)))) if skipped else None

    def leave_transformer(self, result):
        """Compare the transformer's result for the reference's input, and return the reference's own result."""
        self.stage = "loop"
        if self.force != FORCED:
            return result
        given = list(arrays(result))
        self._like = result
        values = [to_numpy(array) for array in given]
        for branch, row in self._judged(values):
            self._compare_prediction(branch, row)
        handed = self._predictions(values)
        return rebuild(result, iter([mx.array(new).astype(self._wide(old.dtype)) for new, old in zip(handed, given)]))

    def root_distance(self, results: list[np.ndarray]) -> Distance | None:
        """How far a transformer's results are from the reference's predictions, at most."""
        found = [self._distance(branch, row) for branch, row in self._judged(results)]
        known = [item[2] for item in found if item is not None]
        return max(known, key=lambda gap: gap.relative if gap.relative == gap.relative else np.inf, default=None)

    def _judged(self, results: list[np.ndarray]) -> list[tuple[Branch, np.ndarray]]:
        """The rows of a result that were made from the reference's input, with the reference's result."""
        rows = _rows(results, len(self.branches))
        return [
            (branch, row)
            for at, (branch, row) in enumerate(zip(self.branches, rows, strict=True))
            if branch is not None and at not in self._other_length
        ]

    def _enter(self, component: str, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        self.stage, self._component, self.placed = "transformer", component, []
        self._other_length.clear()
        given = list(arrays((args, kwargs)))
        call = self._calls[component]
        self._calls[component] += 1
        rows = [key[2] for key in self.orders.branches if key[:2] == (component, call)]
        self.branches = [self._branch(component, call, row) for row in range(max(rows, default=0) + 1)]
        replaced = self._replaced(component, given)
        return rebuild((args, kwargs), iter(replaced))

    def _branch(self, component: str, call: int, row: int) -> Branch | None:
        place = self.orders.branches.get((component, call, row))
        first = self.calls.branches(0)
        return self.calls.like(first[place], place, self.step) if place is not None and place < len(first) else None

    def _replaced(self, component: str, given: list[mx.array]) -> list[mx.array]:
        place, order = self.orders.inputs.get(component, (None, None))
        new = list(given)
        free = [n for n, array in enumerate(given) if mx.issubdtype(array.dtype, mx.floating) and n != place]
        if place is not None and place < len(given):
            new[place] = self._given_latents(given[place], order)
        for n, array in self._conditions(component, new).items():
            new[n] = self._hand(mx.array(array), self._wide(given[n].dtype)) if self.force != FREE else given[n]
        free = [n for n in free if n not in self.orders.conditions.get(component, ())]
        small = [n for n in free if 0 < given[n].size <= FEW]
        for n in small:
            new[n] = self._timestep(given[n], first=n == small[0])
        wide = [n for n in free if given[n].size > FEW or given[n].size == 0 < given[n].ndim - 1]
        for n, array in self._prompts([(n, to_numpy(given[n])) for n in wide]).items():
            new[n] = self._hand(mx.array(array), self._wide(given[n].dtype)) if self.force != FREE else given[n]
        return new

    def _hand(self, values: mx.array, dtype: mx.Dtype) -> mx.array:
        given = values.astype(dtype)
        self.placed.append((given, values.astype(mx.float32)))
        return given

    def _given_latents(self, array: mx.array, order: Order) -> mx.array:
        if self.force != FORCED:
            return array
        own, count = to_numpy(array), len(self.branches)
        rows = [row_of(own, row, count) for row in range(count)]
        moved = []
        for branch, row in zip(self.branches, rows, strict=True):
            wanted = self.calls.latents(branch) if branch is not None else None
            if wanted is None or row.size != order.ids.size:
                moved.append(row)
                continue
            mine = order.to_source(row, self.calls.size)
            self._note(f"{LATENTS}/{branch.latents.split('/', 1)[1]}", wanted, mine, distance(wanted, mine))
            moved.append(order.of_source(wanted, row))
        return self._hand(mx.array(_joined(moved, own)), self._wide(array.dtype))

    def _conditions(self, component: str, given: list[mx.array]) -> dict[int, np.ndarray]:
        """The arrays with encoded images in them, with the reference's values; compared in the first step."""
        known, size = self.orders.conditions.get(component, {}), self.calls.condition_size
        fitting = [n for n, order in known.items() if n < len(given) and given[n].size == order.ids.size]
        arrays = {n: to_numpy(given[n]) for n in fitting}
        for at, branch in enumerate(self.branches):
            if branch is None or not branch.conditions:
                continue
            wanted, own = self.calls.condition(branch), np.full(size, np.nan, np.float32)
            for n, array in arrays.items():
                order, row = self._row_of(known[n], at), row_of(array, at, len(self.branches))
                part = order.to_source(row, size)
                own = np.where(np.isnan(part), own, part)
                moved = order.of_source(np.where(np.isnan(wanted), own, wanted), row)
                array[...] = moved if moved.shape == array.shape else _joined_at(array, moved, at)
            if self.step == 0:
                self._compare_condition(f"{CONDITION}/{component}/in/{at}", wanted, own)
        return arrays

    def _row_of(self, order: Order, at: int) -> Order:
        return Order(row_of(order.ids, at, len(self.branches)), order.factor)

    def _compare_condition(self, name: str, wanted: np.ndarray, own: np.ndarray) -> None:
        both = ~np.isnan(wanted) & ~np.isnan(own)
        if np.isnan(wanted).sum() != np.isnan(own).sum() or not both.any():
            counts = [np.count_nonzero(~np.isnan(values)) for values in (wanted, own)]
            self.crossing.notes.append(
                f"{counts[1]} latents of the images, the reference's transformer gets {counts[0]}"
            )
            self._note(name, wanted, own, UNKNOWN, aligned=False)
            return
        self._note(name, wanted, own, distance(wanted[both], own[both]))

    def _timestep(self, array: mx.array, first: bool) -> mx.array:
        # A sinusoid of 1000 times the timestep amplifies float32 rounding 1000 times. Only that is removed: a
        # timestep that differs by more stays the port's.
        known = [branch for branch in self.branches if branch is not None]
        if not known or array.size not in (1, len(self.branches)):
            return array
        own = to_numpy(array).reshape(-1)
        times = [float(values.reshape(-1)[0]) for values in known[0].times.values()]
        for wanted in times:
            if np.allclose(own, wanted, rtol=ROUNDING, atol=0):
                return self._hand(mx.full(array.shape, wanted), array.dtype)
        if times and first:
            self.crossing.timesteps.append((times[0], float(own[0])))
        return array

    def _prompts(self, given: list[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
        """The reference's prompt embeddings that replace the port's, by argument; compared in the first step."""
        count = len(self.branches)
        rows = {n: [row_of(own, row, count) for row in range(count)] for n, own in given}
        changed: set[int] = set()
        for at, branch in enumerate(self.branches):
            if branch is None:
                continue
            for n, match in match_prompts(branch, {n: own[at] for n, own in rows.items()}).items():
                self._taken.add(branch.names[match.name])
                if self.step == 0:
                    self._compare_prompt(branch, match)
                if match.reference is None:
                    self._other_length.add(at)
                else:
                    rows[n][at] = match.reference.reshape(rows[n][at].shape)
                    changed.add(n)
        return {n: _joined(rows[n], own) for n, own in given if n in changed}

    def _compare_prompt(self, branch: Branch, match: PromptMatch) -> None:
        label = f"prompt/{match.name.split('/', 1)[1]}"
        if match.reference is None:
            shape = list(branch.inputs[match.name].shape)
            note = f"prompt embeddings are {list(match.own.shape)}, the reference's are {shape}"
            length = match.own.shape[-2]
            if "max_sequence_length" in self.recording.facts.get("parameters", ()) and length:
                note += f"; record with --call max_sequence_length={length} if that is the model's length"
            self.crossing.notes.append(note)
            self._note(label, branch.inputs[match.name], match.own, UNKNOWN, aligned=False)
        else:
            self._note(label, match.reference, match.own, distance(match.reference, match.own))

    def _unused(self) -> list[str]:
        """Prompt inputs that the reference's transformer gets and the port's does not."""
        known = {
            branch.names[name]: f"{branch.names[name]} ({name.split('/', 2)[2]}, {list(values.shape)})"
            for branch in self.calls.branches(0)
            for name, values in branch.prompts.items()
        }
        return [
            text
            for name, text in known.items()
            if name not in self._taken and not any(word in name.lower() for word in INSIDE)
        ]

    # ---------------------------------------------------------------------------------------------------- predictions

    def _compare_prediction(self, branch: Branch, own: np.ndarray) -> None:
        found = self._distance(branch, own)
        name = f"{branch.stage}/{branch.component}/out/0"
        if found is not None:
            self._note(name, *found)
        elif self.calls.result(branch) is not None and self._output_order(branch.component) is not None:
            self._other_shape(name, self.calls.result(branch), own)

    def _distance(self, branch: Branch, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, Distance] | None:
        """A prediction on both sides in the loop's order, and how far apart they are."""
        wanted, order = self.calls.output(branch), self._output_order(branch.component)
        if wanted is None or order is None or own.size != order.ids.size:
            return None
        mine = self.orders.sign * order.to_source(own, self.calls.size)
        shape = self.recording.event(f"loop/scheduler.{self.step}/in/0").shape
        return wanted.reshape(shape), mine.reshape(shape), distance(wanted, mine)

    def _output_order(self, component: str) -> Order | None:
        return self.orders.outputs.get(component)

    def _predictions(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """The reference's predictions in the port's layout, for the rows of the current call.

        A prediction that the reference does not make (of a negative prompt, without guidance) gets that of the prompt.
        """
        order = self._output_order(self._component)
        spare = self.calls.branches(self.step)
        rows = []
        for branch, own in zip(self.branches, _rows(values, len(self.branches)), strict=True):
            branch = branch or (spare[self.calls.conditional(self.step)] if spare else None)
            wanted = self.calls.output(branch) if branch is not None else None
            usable = wanted is not None and order is not None and own.size == order.ids.size
            rows.append(order.of_source(self.orders.sign * wanted, own) if usable else own)
        return [_joined(rows, values[0])] if len(values) == 1 else rows

    def _skipped_result(self, given: list[mx.array]) -> mx.array:
        """What the transformer would have returned: the reference's predictions."""
        order = self._output_order(self._component)
        place, _ = self.orders.inputs.get(self._component, (None, None))
        array = given[place] if place is not None else max(given, key=lambda array: array.size)
        own = to_numpy(array)
        if order is not None and own.size != len(self.branches) * order.ids.size:
            own = np.zeros((len(self.branches) * len(order.ids), *order.ids.shape[1:]), np.float32)
        prediction = mx.array(self._predictions([own])[0]).astype(array.dtype)
        if isinstance(self._like, (list, tuple)) and len(list(arrays(self._like))) == 1:
            return rebuild(self._like, iter([prediction]))  # a list of one array stays a list
        return prediction

    # ------------------------------------------------------------------------------------------------------- comparing

    def _exchange(self, name: str, array: mx.array, stage: str) -> mx.array:
        """Compare (when ``stage`` is given), and in a forced run return the reference's values in the port's layout."""
        if name not in self.recording or self.orders.loop is None:
            return array  # the order is unknown: nothing can be compared
        own, order, reference = to_numpy(array), self.orders.loop, self.recording.get(name)
        if own.size != order.ids.size or reference.size != own.size:
            if stage:
                self._other_shape(f"{stage}/{name.split('/', 1)[1]}", reference, own)
            return array
        if stage:
            mine = order.to_source(own, reference.size).reshape(reference.shape)
            self._note(f"{stage}/{name.split('/', 1)[1]}", reference, mine, distance(reference, mine))
        if self.force != FORCED:
            return array
        return mx.array(order.of_source(reference, own)).astype(array.dtype)

    def _other_shape(self, label: str, reference: np.ndarray, own: np.ndarray) -> None:
        self.crossing.notes.append(f"{label} is {list(own.shape)}, the reference's is {list(reference.shape)}")
        self._note(label, reference, own, UNKNOWN, aligned=False)

    def _note(self, name: str, reference, own, gap: Distance, aligned: bool = True) -> None:
        self.crossing.seen.append(Comparison(name, reference, own, gap, aligned))

    def _wide(self, dtype: mx.Dtype) -> mx.Dtype:
        # A port that always returns bfloat16 is reported there; the next stage gets the reference's values.
        return mx.float32 if self._dtype() == mx.float32 else dtype

    def _dtype(self) -> mx.Dtype:
        from mflux.models.common.config.model_config import ModelConfig

        return ModelConfig.precision


def _rows(values: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The rows of a result: a batch in one tensor, or a tensor for each row."""
    if len(values) == count and count > 1:
        return values
    return [row_of(values[0], row, count) for row in range(count)]


def _joined(rows: list[np.ndarray], own: np.ndarray) -> np.ndarray:
    """Join rows into one batch; for rows that share one array, the first."""
    whole = len(rows) > 1 and rows[0].size != own.size
    return np.concatenate(rows).reshape(own.shape) if whole else rows[0].reshape(own.shape)


def _joined_at(array: np.ndarray, row: np.ndarray, at: int) -> np.ndarray:
    """A batch with one row replaced."""
    changed = array.copy()
    changed[at : at + 1] = row
    return changed


class _Gate(Sink):
    """Sends calls of whole networks through the run; everything else goes to the run's own sink.

    A network's result for exactly the same numbers is not computed again, unless its modules are being recorded.
    """

    def __init__(self, run: ForcedRun):
        self.run = run
        self.watched = type(run.sink) is not Sink

    def enter(self, path, module, args, kwargs):
        if "." in path:
            self.run.residents.enter(path.split(".")[0])
            return self.run.sink.enter(path, module, args, kwargs)
        if is_denoiser(path):
            args, kwargs, result = self.run.enter_transformer(path, args, kwargs)
            if result is not None:
                return args, kwargs, result
        known = None if self.watched else self.run.memo.get(path, args, kwargs)
        if known is not None:
            return args, kwargs, self._handed_on(path, known)
        self.run.residents.enter(path)
        return self.run.sink.enter(path, module, args, kwargs)

    def leave(self, path, module, args, kwargs, result, call):
        result = self.run.sink.leave(path, module, args, kwargs, result, call)
        if "." in path:
            return result
        mx.eval(list(arrays(result)))  # else it would keep the network's weights
        self.run.memo.put(path, args, kwargs, result)
        return self._handed_on(path, result)

    def _handed_on(self, path, result):
        return self.run.leave_transformer(result) if is_denoiser(path) else result

    def attention(self, *args):
        self.run.sink.attention(*args)
