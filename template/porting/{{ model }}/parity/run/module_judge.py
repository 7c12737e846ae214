"""Judge every module of a running port: its output, and its result for the reference's own input."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.compare.alignment import Alignment, align, cuts, layouts
from parity.compare.calls import FEW, row_of
from parity.compare.limits import Limits
from parity.compare.pairing import Pairing
from parity.compare.rotation import of_turned
from parity.compare.rows import same_rows
from parity.metrics import Distance, distance, is_half
from parity.record.recording import Recording, is_denoiser
from parity.run.forced_run import ForcedRun
from parity.run.mlx_taps import Sink, arrays, to_numpy
from parity.run.run_trace import rebuild

SIGNIFICANT = 1e-5  # a different eps stays below it; an error that fails a stage does not
ENOUGH = 3  # wrong modules of one stage: the first of them is the answer
MOST_FAR = 2
SHORT = (mx.bfloat16, mx.float16)
FAR_ARRANGED = 0.02  # queries or keys that differ by more are rotated or in another order, not rounded
MOST_AXES = 4  # of position ids: time, height, width and one more
CHANNELS_LAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.BatchNorm, nn.InstanceNorm, nn.Upsample)
PASSED_ON = 4  # a right module amplifies its input's error less
NEAR = 0.5  # two tensors with a relative error below this are the same one


@dataclass
class Call:
    """One call of one module. ``output`` is its error as it ran, ``local`` its error on the reference's input.

    ``whole`` says that all of its input could be replaced. ``children`` are the calls inside it, in order.
    """

    stage: str
    path: str
    reference: str
    order: int
    children: list[Call] = field(default_factory=list)
    inputs: float | None = None
    output: Distance | None = None
    local: Distance | None = None
    whole: bool = True
    wrong: bool = False  # something inside it is
    sinusoid: bool = False  # it computes sinusoids of a few angles
    short: bool = False  # it, or a module inside it, always returns bfloat16
    event: str = ""
    size: int = 0  # size of its result
    own: list[np.ndarray] = field(default_factory=list)
    replay: Callable | None = None
    attention: list[dict] = field(default_factory=list)
    moment: tuple[list, int] = ((), 0)  # the reference's predictions that it is part of, and the step
    scalars: list[np.ndarray] = field(default_factory=list)  # timesteps and scales among its own arguments
    given: list[np.ndarray] = field(default_factory=list)  # of the first call with a wrong result and those around it
    ids: tuple[np.ndarray, np.ndarray] | None = None  # the reference's token ids and the port's, of an embedding
    positions: tuple[np.ndarray, np.ndarray] | None = None  # and its ids of several axes, where they differ

    @property
    def leaf(self) -> bool:
        return not self.children

    def walk(self):
        """This call and all calls inside it, innermost first and in the order of execution."""
        for child in self.children:
            yield from child.walk()
        yield self


class ModuleJudge(Sink):
    """Judges the modules of one forced ``run``, which knows which of the reference's calls a component is in now.

    ``waived`` says why an error at a path is not a fault; what is around such a module is judged like any other.
    """

    def __init__(
        self,
        recording: Recording,
        pairing: Pairing,
        run: ForcedRun,
        limits: Limits,
        waived: Callable[[str, float], str],
    ):
        self.recording, self.pairing, self.run, self.limits = recording, pairing, run, limits
        self._waived = waived
        self._guilty: Counter = Counter()
        self._first_wrong: dict[str, Call] = {}  # by stage: the first call with a wrong result, or what is around it
        self.roots: list[Call] = []
        self._stack: list[Call] = []
        self._counts: dict[str, int] = {}
        self._channels_last: set[str] = set()  # calls of MLX's own modules that have channels last
        self._encodings: dict[str, str] = {}  # the reference's stage, per call of a text encoder

    def enter(self, path, module, args, kwargs):
        component = path.split(".")[0]
        stage = self.run.stage_of(component)
        if stage == component:  # an encoder of another name than the reference's
            stage = self.pairing.components.get(component, component)
        if "." not in path and stage.startswith("text_encoder"):
            self._begin_encoding(stage, args, kwargs)
        if is_denoiser(path) and "." not in path:
            self._forget(f"{stage}/{path}")  # two rows of one reference call may be two calls of the port
        paired = self.pairing.modules.get(path, "")
        call = Call(stage, path, paired, len(self._counts))
        call.event = self._event(stage, path, paired)
        siblings = self._stack[-1].children if self._stack else self.roots
        siblings.append(call)
        self._stack.append(call)
        return args, kwargs, None

    def leave(self, path, module, args, kwargs, result, again):
        call = self._stack.pop()
        if call.event:
            self._measure(call, module, args, kwargs, result, again)
        return result

    def attention(self, path, query, key, value, scale, result) -> None:
        call = self._stack[-1] if self._stack else None
        if call is None or not call.event:
            return
        prefix = f"{call.event}.sdpa"
        prefix = f"{prefix}#{len(call.attention)}" if call.attention else prefix
        found = {"scale": (self._scale(prefix), scale)}
        for n, (name, array) in enumerate((("q", query), ("k", key), ("v", value))):
            own = to_numpy(array)
            found[name] = self._against(f"{prefix}/in/{n}", own, repeats=True)
            found[f"how {name}"] = self._how_arranged(f"{prefix}/in/{n}", own, found[name])
        found["out"] = self._against(f"{prefix}/out/0", to_numpy(result))
        call.attention.append(found)

    def _how_arranged(self, name: str, own: np.ndarray, gap: Distance | None) -> str:
        """How queries, keys or values differ from the reference's if they are the same numbers, moved or rotated."""
        event = self.recording.event(name)
        if gap is None or not gap.relative > FAR_ARRANGED or event.stride > 1:
            return ""
        reference = self._get(name)
        found = align(reference, own, repeats=True)
        moved = found[0].to_reference(own) if found else own
        if moved.shape != reference.shape:
            return ""
        if same_rows(reference, moved):
            return "in another order of tokens"
        if same_rows(reference, moved, axis=-3):
            return "in another order of heads"
        return of_turned(reference, moved)

    def results(self, event: str) -> list[str]:
        """The recording's names of what came out of a call."""
        return self._all(f"{event}/out")

    def inputs(self, event: str) -> list[str]:
        """The recording's names of what went into a call."""
        return self._all(f"{event}/in")

    def _get(self, name: str) -> np.ndarray:
        """A recorded tensor; of a call that predicts several pictures at once, the row that the port's call is of."""
        values = self.recording.get(name)
        known = [branch for branch in self.run.branches if branch is not None]
        if not known or len(self.run.branches) > 1 or not is_denoiser(name):
            return values
        return row_of(values, known[0].row, known[0].rows) if self.recording.event(name).stride == 1 else values

    def _scale(self, prefix: str) -> float | None:
        name = f"{prefix}/in/3"
        return float(self._get(name).reshape(-1)[0]) if name in self.recording else None

    def _event(self, stage: str, path: str, paired: str) -> str:
        count = self._counts.get(f"{stage}/{path}", 0)
        self._counts[f"{stage}/{path}"] = count + 1
        if not paired:
            return ""
        stage = self._encodings.get(stage, stage)
        options = [f"{stage}/{paired}"] if not count else [f"{stage}/{paired}#{count}", f"{stage}.{count}/{paired}"]
        return next((name for name in options if f"{name}/out/0" in self.recording), "")

    def _begin_encoding(self, component: str, args: tuple, kwargs: dict) -> None:
        # Which side encodes the negative prompt first is a convention: calls are matched by their token ids.
        given = [to_numpy(array).reshape(-1) for array in arrays((args, kwargs)) if array.dtype in (mx.int32, mx.int64)]
        stages = [stage for stage in (component, *(f"{component}.{n}" for n in range(1, 9))) if self._tokens(stage)]
        if not given or len(stages) < 2:
            return
        far = {stage: abs(len(self._tokens(stage)[0]) - len(given[0])) for stage in stages}
        same = [stage for stage in stages if same_tokens(self._tokens(stage)[0], given[0])]
        self._encodings[component] = same[0] if same else min(stages, key=far.__getitem__)
        self._forget(f"{component}/")

    def _forget(self, prefix: str) -> None:
        for name in [name for name in self._counts if name.startswith(prefix)]:
            self._counts[name] = 0

    def _tokens(self, stage: str) -> list[np.ndarray]:
        values = [self._get(name) for name in self.inputs(f"{stage}/{stage.split('.')[0]}")]
        return [one.reshape(-1) for one in values if one.dtype.kind != "f"]

    def _measure(self, call: Call, module, args: tuple, kwargs: dict, result, again: Callable) -> None:
        root = "." not in call.path
        results = [to_numpy(array) for array in arrays(result)]
        call.size = max((one.size for one in results), default=0)
        if isinstance(module, CHANNELS_LAST):
            self._channels_last.add(call.event)
        call.sinusoid = is_sinusoid(module, args, kwargs, result)
        call.ids = self._ids(call.event, args, kwargs)
        repeats = call.path in self.pairing.named
        call.moment = self.run.branches, self.run.step
        call.scalars = [to_numpy(array).reshape(-1) for array in arrays((args, kwargs)) if _is_scalar(array)]
        call.output = self._output(call, results, repeats)
        self._keep_given(call, args, kwargs)
        if call.stage.startswith("text_encoder") and root:
            return  # an encoder's own result is one of several hidden states: the stage judges it
        if self._thinned(call.event):
            self._judge_thinned(call, args, kwargs)
            return
        if self._known(call):
            return
        inputs = self._reference_inputs(call, args, kwargs)
        for new_args, new_kwargs in inputs:
            with _casts() as kinds:
                own = _run(again, new_args, new_kwargs)
            call.short = call.short or any(kind in SHORT for kind in kinds)
            local = self._output(call, own, repeats) if own else None
            if local and (call.local is None or local.relative < call.local.relative):
                call.local, call.own = local, own
                call.replay = functools.partial(_run, again, new_args, new_kwargs)
        rounds = bool(call.own) and (call.inputs is not None or not call.leaf) and all(map(is_half, call.own))
        call.short = rounds or call.short or any(child.short for child in call.children)
        if self._is_wrong(call, self.limits.of_module(call)):
            self._guilty[call.stage] += 1

    def _is_wrong(self, call: Call, limit: float = 0.0) -> bool:
        wrong = call.local is not None and call.local.relative > max(limit, SIGNIFICANT)
        return wrong and not self._waived(call.path, call.local.relative)

    def _judge_thinned(self, call: Call, args: tuple, kwargs: dict) -> None:
        """A thinned input cannot be inserted. If the port's equals the reference's, as far as known, it need not be.

        Only what the module adds to its input's error counts.
        """
        call.whole, names = False, self.inputs(call.event)
        given = [array for array in arrays((args, kwargs)) if mx.issubdtype(array.dtype, mx.floating)]
        found = [self._nearest(names, to_numpy(array), False, False) for array in given if array.size > FEW]
        gaps = [gap.relative for gap in found if gap is not None and gap.relative <= NEAR]
        if not gaps or len(gaps) < sum(gap is not None for gap in found) or call.output is None:
            return
        call.inputs = max(gaps)
        if call.inputs <= self.limits.of_output(call):
            added = max(0.0, call.output.relative - PASSED_ON * call.inputs)
            call.local = replace(call.output, relative=added)

    def _keep_given(self, call: Call, args: tuple, kwargs: dict) -> None:
        first = self._first_wrong.get(call.stage)
        around = any(child is first for child in call.children)
        if around or first is None and call.output and call.output.relative > self.limits.of_output(call):
            self._first_wrong[call.stage] = call
            call.given = [to_numpy(array) for array in arrays((args, kwargs))]

    def measure(self, call: Call, results: list[np.ndarray]) -> Distance | None:
        """How far other results of a call are from the reference's, after the run."""
        with self._as_in(call):
            return self._output(call, results, call.path in self.pairing.named)

    def reference(self, call: Call, name: str) -> np.ndarray:
        """A tensor of a call as the reference has it, after the run."""
        with self._as_in(call):
            return self._get(name)

    @contextlib.contextmanager
    def _as_in(self, call: Call) -> Iterator[None]:
        before = self.run.branches, self.run.step
        self.run.branches, self.run.step = call.moment
        try:
            yield
        finally:
            self.run.branches, self.run.step = before

    def _output(self, call: Call, results: list[np.ndarray], repeats: bool) -> Distance | None:
        root = "." not in call.path
        if root and is_denoiser(call.path):
            return self.run.root_distance(results)
        return self.outputs(call.event, results, root, repeats)

    def _known(self, call: Call) -> bool:
        """Whether a replay would show nothing new: the output is right, or a module inside is wrong, or enough are."""
        if call.output and call.output.relative <= self.limits.of_module(call) and self.limits.dtype == "float32":
            call.local = call.output
            return True
        wrong = any(self._is_wrong(child) or child.wrong for child in call.children)
        call.wrong = wrong
        if "." not in call.path:
            return False  # a whole network's result for the reference's input shows whether the error is in it
        return wrong or self._guilty[call.stage] >= ENOUGH

    def _ids(self, event: str, args: tuple, kwargs: dict) -> tuple[np.ndarray, np.ndarray] | None:
        given = [array for array in arrays((args, kwargs)) if not mx.issubdtype(array.dtype, mx.floating)]
        names = self.inputs(event)
        if len(given) != 1 or len(names) != 1 or len(list(arrays((args, kwargs)))) != 1:
            return None
        reference = self._get(names[0])
        return None if reference.dtype.kind == "f" else (reference.reshape(-1), to_numpy(given[0]).reshape(-1))

    def outputs(
        self, event: str, results: list[np.ndarray], root: bool = False, repeats: bool = False
    ) -> Distance | None:
        """The worst distance of a call's results from the reference's; None when none of them can be compared.

        A component's own output may have another sign, or be one of several hidden states.
        """
        names = self._all(f"{event}/out")
        if len(names) == 1 and len(results) > 1 and all(one.shape[:-1] == results[0].shape[:-1] for one in results):
            joined = np.concatenate(results, axis=-1)  # the reference splits its one tensor later
            if joined.size == int(np.prod(self.recording.event(names[0]).shape)):
                results = [joined]
        worst: Distance | None = None
        for n, own in enumerate(results):
            found = self._against(names[n], own, repeats) if n < len(names) and not root else None
            if found is None or root:
                found = self._nearest(names, own, repeats, root)
            if found and (worst is None or not worst.relative >= found.relative):
                worst = found
        return worst

    def _nearest(self, names: list[str], own: np.ndarray, repeats: bool, signs: bool) -> Distance | None:
        found = [
            self._against(name, values, repeats) for name in names for values in ((own, -own) if signs else (own,))
        ]
        found = [item for item in found if item]
        return min(found, key=lambda item: item.relative) if found else None

    def _against(self, name: str, own: np.ndarray, repeats: bool = False) -> Distance | None:
        event = self.recording.event(name)
        if event is None:
            return None
        reference = self._get(name)
        if event.stride == 1:
            found = align(reference, own, repeats, self._is_channels_last(name))
            return found[1] if found else None
        moved = [item.to_reference(own).reshape(-1)[:: event.stride] for item in layouts(event.shape, own.shape)]
        return min((distance(reference, item) for item in moved), key=lambda item: item.relative, default=None)

    def _is_channels_last(self, name: str) -> bool:
        return name.rsplit("/", 2)[0] in self._channels_last

    def _all(self, prefix: str) -> list[str]:
        names, n = [], 0
        while f"{prefix}/{n}" in self.recording:
            names.append(f"{prefix}/{n}")
            n += 1
        return names

    def _thinned(self, event: str) -> bool:
        return any(self.recording.event(name).stride > 1 for name in self._all(f"{event}/in"))

    def _reference_inputs(self, call: Call, args: tuple, kwargs: dict) -> Iterator[tuple[tuple, dict]]:
        """The call's arguments with the reference's values in them. Float32, so that replays round like the reference.

        An array that is far from every input of the reference is wrong, or it follows another convention (RoPE
        tables), or it is the first or last rows of the reference's: the call is made in all these ways, and the best
        result counts.
        """
        names, taken = self.inputs(call.event), set()
        own, options = list(arrays((args, kwargs))), []
        call.inputs = 0.0
        for array in own:
            if not mx.issubdtype(array.dtype, mx.floating):
                options.append([self._counted(call, array, names)])
                continue
            exact = next((exact for given, exact in self.run.placed if array is given), None)
            if exact is not None:
                taken.add("")  # it is already the reference's
                options.append([exact])
                continue
            found = self._find(array, names, taken)
            if found is None:
                call.whole = False
                options.append([array, *self._parts(array, names)])
                continue
            name, alignment, gap = found
            taken.add(name)
            call.inputs = max(call.inputs, gap)
            options.append([mx.array(alignment.to_mlx(self._get(name))), *([array] if gap > NEAR else [])])
        if not any(mx.issubdtype(array.dtype, mx.floating) for array in own):
            call.inputs = None  # token ids or positions alone
        elif not taken:
            return
        for values in _choices(options):
            yield rebuild((args, kwargs), iter(values))

    def _counted(self, call: Call, array: mx.array, names: list[str]) -> mx.array:
        """The reference's ids and positions: wrong ones are blamed on the module that made them, not on their users.

        Booleans stay the port's: which value means masked is a convention.
        """
        if array.dtype == mx.bool_:
            return array
        own = to_numpy(array)
        known = [self._get(name) for name in names]
        like = [ids.reshape(own.shape) for ids in known if ids.dtype.kind == "i" and _long(ids) == _long(own)]
        # Token ids and a mask of ones and zeros have the same shape.
        nearest = min(like, key=lambda ids: np.count_nonzero(ids != own), default=own)
        if own.ndim > 1 and 1 < own.shape[-1] <= MOST_AXES and (nearest != own).any():
            call.positions = nearest, own
        return mx.array(nearest).astype(array.dtype)

    def _find(self, array: mx.array, names: list[str], taken: set[str]) -> tuple[str, Alignment, float] | None:
        own, found = to_numpy(array), []
        for name in names:
            reference = self._get(name)
            if name in taken or reference.dtype.kind != "f" or not layouts(reference.shape, own.shape):
                continue
            alignment, gap = align(reference, own, channels_last=self._is_channels_last(name))
            found.append((gap.relative, name, alignment))
        near = [item for item in found if item[0] <= NEAR] or self._near_part(own, [n for n in names if n not in taken])
        chosen = min(near, key=lambda item: item[0]) if near else found[0] if found else None
        return (chosen[1], chosen[2], chosen[0]) if chosen else None

    def _near_part(self, own: np.ndarray, names: list[str]) -> list[tuple[float, str, Alignment]]:
        # The port may compute fewer rows than the reference (only the image tokens).
        found = []
        for name in names:
            reference = self._get(name)
            aligned = align(reference, own) if reference.dtype.kind == "f" and own.ndim > 1 else None
            if aligned and aligned[1].relative <= NEAR and aligned[0].to_mlx(reference) is not None:
                found.append((aligned[1].relative, name, aligned[0]))
        return found

    def _parts(self, array: mx.array, names: list[str]) -> list[mx.array]:
        """The reference's values for a wrong array that has fewer rows: its first or last."""
        known = [self._get(name) for name in names if array.ndim > 1]
        parts = [
            alignment.to_mlx(values)
            for values in known
            if values.dtype.kind == "f" and values.shape[-1] == array.shape[-1]  # rows, not half of a table of angles
            for alignment in cuts(tuple(values.shape), tuple(array.shape))
        ]
        return [mx.array(part) for part in parts if part is not None][:2]


def _choices(options: list[list]) -> Iterator[tuple]:
    """Every choice of one from each, where only the first MOST_FAR that leave a choice are tried."""
    open_ones = [n for n, choice in enumerate(options) if len(choice) > 1][:MOST_FAR]
    yield from itertools.product(*(choice if n in open_ones else choice[:1] for n, choice in enumerate(options)))


def _is_scalar(array: mx.array) -> bool:
    return array.size <= MOST_AXES and mx.issubdtype(array.dtype, mx.floating)


def _long(values: np.ndarray) -> tuple[int, ...]:
    return tuple(length for length in values.shape if length > 1)


def is_sinusoid(module, args: tuple, kwargs: dict, result) -> bool:
    """Whether a module without weights makes many numbers from one (a timestep)."""
    given, made = list(arrays((args, kwargs))), list(arrays(result))
    few = bool(given) and all(array.size <= 4 for array in given)
    return few and len(made) == 1 and made[0].size > 8 * given[0].size and not module.parameters()


def same_tokens(reference: np.ndarray, own: np.ndarray) -> bool:
    """Whether two rows of token ids are equal. Padding is masked on both sides, so its length may differ."""
    shorter, longer = sorted((reference, own), key=len)
    length = len(shorter)
    heads = np.array_equal(shorter, longer[:length]) and len(set(longer[length:].tolist())) <= 1
    return heads or np.array_equal(shorter, longer[-length:]) and len(set(longer[:-length].tolist())) <= 1


@contextlib.contextmanager
def _casts() -> Iterator[list[mx.Dtype]]:
    """The types that arrays are cast to. A module's internal casts do not show in its result."""
    kinds, original = [], mx.array.astype

    def astype(array, kind, *args, **kwargs):
        kinds.append(kind)
        return original(array, kind, *args, **kwargs)

    mx.array.astype = astype
    try:
        yield kinds
    finally:
        mx.array.astype = original


def _run(again: Callable, args: tuple, kwargs: dict) -> list[np.ndarray]:
    from mflux.models.common.config.model_config import ModelConfig

    precision, ModelConfig.precision = ModelConfig.precision, mx.float32
    try:
        return [to_numpy(array) for array in arrays(again(*args, **kwargs))]
    except Exception:  # noqa: BLE001 - a module that cannot be run by itself is judged only by its output
        return []
    finally:
        ModelConfig.precision = precision
