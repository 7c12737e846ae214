"""Run one module of the port again, on the reference's input."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.compare import masks
from parity.compare.alignment import Alignment, align, cuts, layouts
from parity.compare.rotation import is_table
from parity.metrics import distance, is_short
from parity.run.mlx_taps import arrays, to_numpy
from parity.run.module_call import Call
from parity.run.patches import Patches
from parity.run.recorded_calls import RecordedCalls
from parity.run.run_trace import rebuild

MOST_FAR = 2  # arguments that are tried in more than one way
MOST_AXES = 4  # axes of position ids: time, height, width and one more
NEAR = 0.5  # two tensors with a relative error below this are the same one
GIVEN = 100.0  # rounding of its input changes a correct module's error less; a wrong input changes it more


def reference_inputs(recorded: RecordedCalls, call: Call, args: tuple, kwargs: dict) -> Iterator[tuple[tuple, dict]]:
    """The call's arguments with the reference's values in them. In float32, so that replays round like the reference.

    An array that is far from every input of the reference is wrong, or it follows another convention (RoPE tables),
    or it is the first or last rows of the reference's: the call is made in all these ways, and the best result counts.
    """
    names, taken = recorded.inputs(call.event), set()
    own = list(arrays((args, kwargs)))
    call.inputs = 0.0
    options = [_options(recorded, call, array, names, taken, own) for array in own]
    if call.root:
        call.replaced = max((_moved(array, choice[0]) for array, choice in zip(own, options, strict=True)), default=0.0)
    if not any(mx.issubdtype(array.dtype, mx.floating) for array in own):
        call.inputs = None  # only token ids or positions
    elif not taken:
        return
    for values in _choices(options):
        yield rebuild((args, kwargs), iter(values))


def _moved(array: mx.array, new: mx.array) -> float:
    """The relative change when ``new`` replaces an argument; infinite for another mask, or other ids."""
    if new is array:
        return 0.0
    one, other = to_numpy(new), to_numpy(array)
    if one.dtype.kind == "f" and not masks.is_mask(one):
        return distance(one, other).relative
    return float("inf") if (one != other).any() else 0.0


def run_alone(again: Callable, args: tuple, kwargs: dict) -> tuple[list[np.ndarray], bool]:
    """A module's results in float32, none if it cannot be run by itself; and whether it casts to a short type."""
    with _casts() as kinds:
        own = _results(again, args, kwargs)
    return own, any(kind in (mx.bfloat16, mx.float16) for kind in kinds)


def in_float32(
    again: Callable, args: tuple, kwargs: dict, exact: list[tuple[mx.array, mx.array]]
) -> tuple[list[np.ndarray], bool]:
    """What a call computes from float32 arguments, and whether it casts to a short type.

    ``exact``: unrounded arguments.
    """
    wide = {id(given): values for given, values in exact}
    new = [wide.get(id(array), _widened(array)) for array in arrays((args, kwargs))]
    return run_alone(again, *rebuild((args, kwargs), iter(new)))


def _widened(array: mx.array) -> mx.array:
    return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array


def replay_of(again: Callable, args: tuple, kwargs: dict) -> Callable[[], list[np.ndarray]]:
    """The same call once more, after the run."""
    return functools.partial(_results, again, args, kwargs)


def with_results(again: Callable, known: list[tuple[nn.Module, mx.array, float]]) -> Callable:
    """A version of ``again`` in which some modules return a known result.

    ``known`` also has the error that each module makes by itself.
    """
    results = {id(module): (result, error) for module, result, error in known}

    def run(*args, **kwargs):
        patches = Patches()
        try:
            for kind in {type(module) for module, *_ in known}:
                patches.set(kind, "__call__", _returning(kind.__call__, results))
            return again(*args, **kwargs)
        finally:
            patches.undo()

    return run


def _returning(original: Callable, results: dict[int, tuple[mx.array, float]]) -> Callable:
    def call(module, *args, **kwargs):
        own = original(module, *args, **kwargs)
        result, error = results.get(id(module), (None, 0.0))
        return rebuild(own, iter([result])) if result is not None and _is_nearly(own, result, error) else own

    return call


def _is_nearly(own, result: mx.array, error: float) -> bool:
    """Whether a module's result in the run is about as far off as by itself: if not, it got a wrong input, which must
    be reported.
    """
    made = list(arrays(own))
    same = len(made) == 1 and made[0].shape == result.shape
    most = max(2 * error, min(NEAR, GIVEN * error))
    return same and distance(to_numpy(result), to_numpy(made[0])).relative <= most


def _options(
    recorded: RecordedCalls, call: Call, array: mx.array, names: list[str], taken: set[str], given: list[mx.array]
) -> list[mx.array]:
    """The values to try instead of one of the arguments ``given``, the best first.

    ``taken``: recorded inputs used so far.
    """
    mask = masks.nearest(map(recorded.get, names), to_numpy(array))
    if mask is not None:  # two correct masks may differ in padding, so the port's own is tried, too
        return [mx.array(mask).astype(array.dtype), *([array] if (mask != to_numpy(array)).any() else [])]
    if not mx.issubdtype(array.dtype, mx.floating):
        return [_counted(recorded, call, array, names)]
    exact = next((exact for given, exact in recorded.state.placed if array is given), None)
    if exact is not None and not _is_of_another(recorded, to_numpy(exact), names):
        taken.add("")  # it is already the reference's
        return [exact]
    own = array if exact is None else exact  # not the rounded one: a port may scale the timestep itself, which is right
    free = [name for name in names if name not in taken]
    found = _find(recorded, to_numpy(array), free) or _joined(recorded, to_numpy(array), free)
    if found is None:
        _keep(call, array, given)
        return [own, *_parts(recorded, array, names)]
    used, values, gap = found
    taken.update(used)
    call.inputs = max(call.inputs, gap)
    return [mx.array(values), *([own] if gap > NEAR else [])]


def _is_of_another(recorded: RecordedCalls, values: np.ndarray, names: list[str]) -> bool:
    """Whether the reference passes other values to this call: the port confuses two inputs."""
    like = [reference for reference in map(recorded.get, names) if layouts(reference.shape, values.shape)]
    gaps = [align(reference, values)[1].relative for reference in like if reference.dtype.kind == "f"]
    return bool(gaps) and min(gaps) > NEAR


def _keep(call: Call, array: mx.array, given: list[mx.array]) -> None:
    """Record that a call keeps one of the port's own arrays."""
    own = to_numpy(array)
    others = [to_numpy(other) for other in given if other is not array and other.shape == array.shape]
    if is_table(own) or any(is_table(np.stack([own, other], axis=-1)) for other in others):
        call.short = call.short or is_short(own)  # RoPE in another convention, and not a result of the run
    else:
        call.whole = False


def _counted(recorded: RecordedCalls, call: Call, array: mx.array, names: list[str]) -> mx.array:
    """The reference's ids and positions: wrong ones are blamed on the module that made them, not on their users."""
    if array.dtype == mx.bool_:
        return array
    own = to_numpy(array)
    known = [recorded.get(name) for name in names]
    like = [ids.reshape(own.shape) for ids in known if ids.dtype.kind == "i" and _are_alike(ids, own)]
    # Token ids and a mask of ones and zeros have the same shape.
    nearest = min(like, key=lambda ids: np.count_nonzero(ids != own), default=own)
    if own.ndim > 1 and 1 < own.shape[-1] <= MOST_AXES and (nearest != own).any():
        call.positions = nearest, own
    return mx.array(nearest).astype(array.dtype)


def _are_alike(ids: np.ndarray, own: np.ndarray) -> bool:
    """Whether the port's integers may stand for the reference's: of one shape, and not ids for a mask."""
    return _long(ids) == _long(own) and not ids.max(initial=0) <= 1 < own.max(initial=0)


def _long(values: np.ndarray) -> tuple[int, ...]:
    return tuple(length for length in values.shape if length > 1)


def _find(
    recorded: RecordedCalls, own: np.ndarray, free: list[str]
) -> tuple[tuple[str, ...], np.ndarray, float] | None:
    """The reference's input for one of the port's arrays: its names, its values as the port has them, and the distance."""
    found = []
    for name in free:
        reference = recorded.get(name)
        if reference.dtype.kind == "f" and layouts(reference.shape, own.shape):
            alignment, gap = align(reference, own, channels_last=recorded.is_channels_last(name))
            found.append((gap.relative, name, alignment))
    near = [item for item in found if item[0] <= NEAR] or _near_part(recorded, own, free)
    chosen = min(near, key=lambda item: item[0]) if near else found[0] if found else None
    return ((chosen[1],), chosen[2].to_mlx(recorded.get(chosen[1])), chosen[0]) if chosen else None


def _near_part(recorded: RecordedCalls, own: np.ndarray, names: list[str]) -> list[tuple[float, str, Alignment]]:
    # The port may compute fewer rows than the reference (only the image tokens).
    found = []
    for name in names:
        reference = recorded.get(name)
        aligned = align(reference, own) if reference.dtype.kind == "f" and own.ndim > 1 else None
        if aligned and aligned[1].relative <= NEAR and aligned[0].to_mlx(reference) is not None:
            found.append((aligned[1].relative, name, aligned[0]))
    return found


def _joined(
    recorded: RecordedCalls, own: np.ndarray, free: list[str]
) -> tuple[tuple[str, ...], np.ndarray, float] | None:
    """Two inputs of the reference that the port has in one array: the rows of the text and those of the image."""
    if own.ndim < 2 or own.size != own.shape[-2] * own.shape[-1]:
        return None
    known = {name: recorded.get(name) for name in free}
    rows = {name: values for name, values in known.items() if values.dtype.kind == "f" and _is_part(values, own)}
    found = [
        (both, np.concatenate([rows[name].reshape(-1, own.shape[-1]) for name in both]).reshape(own.shape))
        for both in itertools.permutations(rows, 2)
        if sum(rows[name].size for name in both) == own.size
    ]
    gaps = [(distance(values, own).relative, both, values) for both, values in found]
    return (
        (nearest[1], nearest[2], nearest[0]) if (nearest := min(gaps, key=lambda item: item[0], default=None)) else None
    )


def _is_part(values: np.ndarray, own: np.ndarray) -> bool:
    return 1 < values.ndim and values.shape[-1] == own.shape[-1] and values.size < own.size


def _parts(recorded: RecordedCalls, array: mx.array, names: list[str]) -> list[mx.array]:
    """The reference's values for a wrong array that has fewer rows: its first or last."""
    known = [recorded.get(name) for name in names if array.ndim > 1]
    parts = [
        alignment.to_mlx(values)
        for values in known
        if values.dtype.kind == "f" and values.shape[-1] == array.shape[-1]  # rows, not half of a table of angles
        for alignment in cuts(tuple(values.shape), tuple(array.shape))
    ]
    return [mx.array(part) for part in parts if part is not None][:2]


def _choices(options: list[list]) -> Iterator[tuple]:
    """Every way to choose one option for each argument; only the first MOST_FAR arguments with several are varied."""
    open_ones = [n for n, choice in enumerate(options) if len(choice) > 1][:MOST_FAR]
    yield from itertools.product(*(choice if n in open_ones else choice[:1] for n, choice in enumerate(options)))


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


def _results(again: Callable, args: tuple, kwargs: dict) -> list[np.ndarray]:
    from mflux.models.common.config.model_config import ModelConfig

    precision, ModelConfig.precision = ModelConfig.precision, mx.float32
    try:
        return [to_numpy(array) for array in arrays(again(*args, **kwargs))]
    except Exception:  # noqa: BLE001 - a module that cannot be run by itself is judged only by its output
        return []
    finally:
        ModelConfig.precision = precision
