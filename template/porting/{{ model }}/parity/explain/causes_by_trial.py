"""Find a cause by experiment: a wrong module runs again on the reference's input with one thing changed.

If the error disappears, the reference does what the change does. Nothing here guesses from the size of an error.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.compare import masks
from parity.run.mlx_taps import arrays, modules_below, to_numpy
from parity.run.module_call import Call
from parity.run.module_judge import ModuleJudge
from parity.run.run_trace import rebuild

EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
VANISHED = 1 / 20  # share of the module's own error
GOOD = 2.5e-6
SECONDS = 20.0  # seconds for everything that is tried on one module
ACTIVATIONS = {
    "gelu": "exact GELU", "gelu_approx": "GELU in its tanh form", "gelu_fast_approx": "GELU in its sigmoid form",
    "silu": "SiLU", "relu": "ReLU", "sigmoid": "the sigmoid",
}  # fmt: skip
WITH_CLASS = {"silu": nn.SiLU, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}
MOST_SPLITS = 4  # calls of mx.split in one module


def tried(call: Call, module: nn.Module, judge: ModuleJudge) -> str:
    """The difference from the reference in one sentence; empty if no change removes the error."""
    if call.replay is None or call.local is None:
        return ""
    if _error(call, judge) < call.local.relative / 2:
        return ""  # the module itself is right: a change that helps now would help by chance
    return _epsilon(call, module, judge) or _first_that_helps(call, module, judge)


def _first_that_helps(call: Call, module: nn.Module, judge: ModuleJudge) -> str:
    end = time.monotonic() + SECONDS
    for sentence, change in _changes(call, module):
        if time.monotonic() > end:
            break
        if (
            _error(call, judge, change)
            <= max(judge.limits.of_module(call), call.local.relative * VANISHED)
            < call.local.relative
        ):
            return sentence
    return ""


def _error(call: Call, judge: ModuleJudge, change=None) -> float:
    with change or contextlib.nullcontext():
        own = call.replay()
    gap = judge.measure(call, own) if own else None
    return gap.relative if gap and gap.relative == gap.relative else float("inf")


def _changes(call: Call, module: nn.Module) -> Iterator[tuple[str, contextlib.AbstractContextManager]]:
    """All trials, each with its meaning if it helps; likelier causes come first."""
    yield from _other_activations(call)
    yield from _other_masks()
    yield from _swapped_layers(module)
    yield from _other_splits(call)


# ---------------------------------------------------------------------------------------------------------------- eps


def _epsilon(call: Call, module: nn.Module, judge: ModuleJudge) -> str:
    eps = getattr(module, "eps", None)
    if not isinstance(eps, float) or not call.leaf:
        return ""
    found = []
    for other in EPSILONS:
        error = _error(call, judge, _attribute(module, "eps", other))
        if error <= min(GOOD, call.local.relative / 2) and other != eps:
            found.append((error, other))
    if not found:
        return ""
    best = min(found)[0]  # every eps far below the variances gives the same result: report the largest that fits
    return f"eps is {eps:g}, the reference computes with {max(o for g, o in found if g <= 1.2 * best + 1e-8):g}"


# -------------------------------------------------------------------------------------------------------- activations


def _other_activations(call: Call) -> Iterator:
    functions = {name: getattr(nn, name) for name in ACTIVATIONS}
    for name in _used(call, functions):
        for other in functions:
            if other != name:
                sentence = f"the activation is {ACTIVATIONS[name]}; the reference's is {ACTIVATIONS[other]}"
                yield sentence, _function(functions[name], functions[other], WITH_CLASS.get(name))


def _used(call: Call, functions: dict[str, Callable]) -> list[str]:
    used: list[str] = []
    with contextlib.ExitStack() as stack:
        for name, function in functions.items():

            def counted(*args, name=name, function=function, **kwargs):
                used.append(name)
                return function(*args, **kwargs)

            stack.enter_context(_function(function, counted, WITH_CLASS.get(name)))
        call.replay()
    return list(dict.fromkeys(used))


@contextlib.contextmanager
def _function(function: Callable, other: Callable, kind: type | None = None) -> Iterator[None]:
    """Replace ``function`` with ``other`` wherever a module of mflux or MLX refers to it, and in MLX's class for it."""
    holders = [vars(module) for path, module in list(sys.modules.items()) if path.split(".")[0] in ("mflux", "mlx")]
    places = [(held, key) for held in holders for key, value in list(held.items()) if value is function]
    with contextlib.ExitStack() as stack:
        for held, key in places:
            stack.callback(held.__setitem__, key, held[key])
            held[key] = other
        if kind is not None:
            stack.enter_context(_attribute(kind, "__call__", lambda _, x: other(x)))
        yield


# --------------------------------------------------------------------------------------------------------------- masks


def _other_masks() -> Iterator:
    yield "the mask: the reference's attention is causal, the port's is not", _attention(_causal)
    yield "the mask: the port masks what the reference does not", _attention(lambda scores, mask: None)


def _causal(scores: tuple[int, int], mask):
    rows, columns = scores
    causal = mx.arange(columns)[None] > mx.arange(rows)[:, None] + (columns - rows)
    added = mx.where(causal, mx.array(-1e9), mx.array(0.0))
    if mask is None or isinstance(mask, str):
        return added
    return mx.where(mask, added, mx.array(-1e9)) if mask.dtype == mx.bool_ else mask.astype(mx.float32) + added


def other_mask(call: Call, judge: ModuleJudge) -> str:
    """How a mask that the port gives to a module differs, if the module's error is larger with it than with the reference's."""
    if call.replay is None or call.local is None:
        return ""
    again, args, kwargs = call.replay.args
    for own in call.given:
        mask = masks.nearest(map(functools.partial(judge.reference, call), judge.recorded.inputs(call.event)), own)
        if mask is None or not (mask != own).any():
            continue
        new = [mx.array(own).astype(one.dtype) if _holds(one, mask) else one for one in arrays((args, kwargs))]
        given = functools.partial(call.replay.func, again, *rebuild((args, kwargs), iter(new)))
        if _error(replace(call, replay=given), judge) > call.local.relative + judge.limits.of_module(call):
            return f"another mask: it differs in {np.count_nonzero(mask != own)} of {mask.size} places"
    return ""


def _holds(array: mx.array, values: np.ndarray) -> bool:
    return array.shape == values.shape and np.array_equal(to_numpy(array), values)


def attention_alone(call: Call, judge: ModuleJudge) -> list[dict]:
    """What reaches a module's attention, and its result, when the module runs on the reference's input."""
    if not call.attention or call.replay is None:
        return call.attention
    original, seen = mx.fast.scaled_dot_product_attention, []

    def attend(q, k, v, *args, **kwargs):
        result = original(q, k, v, *args, **kwargs)
        seen.append((q, k, v, float(kwargs["scale"] if "scale" in kwargs else args[0]), result))
        return result

    with _function(original, attend), _attribute(mx.fast, original.__name__, attend):
        call.replay()
    if len(seen) != len(call.attention):
        return call.attention
    return [judge.compare_attention(call, n, *one) for n, one in enumerate(seen)]


@contextlib.contextmanager
def _attention(change: Callable) -> Iterator[None]:
    """Attention with the mask that ``change`` computes from (rows, columns) and the given mask."""
    original, softmax = mx.fast.scaled_dot_product_attention, mx.softmax

    def attend(q, k, v, *args, **kwargs):
        mask = kwargs.pop("mask", None)
        return original(q, k, v, *args, mask=change((q.shape[-2], k.shape[-2]), mask), **kwargs)

    def weigh(scores, *args, **kwargs):
        if scores.ndim < 3 or scores.shape[-1] != scores.shape[-2]:
            return softmax(scores, *args, **kwargs)
        mask = change(scores.shape[-2:], None)
        return softmax(scores if mask is None else scores + mask.astype(scores.dtype), *args, **kwargs)

    with _function(original, attend), _attribute(mx.fast, original.__name__, attend), _attribute(mx, "softmax", weigh):
        yield


# ------------------------------------------------------------------------------------------------------- swapped parts


def _swapped_layers(module: nn.Module) -> Iterator:
    layers = [(path, layer) for path, layer in modules_below(module) if isinstance(layer, nn.Linear)]
    for (one, first), (other, second) in itertools.combinations(layers, 2):
        if first.weight.shape == second.weight.shape and ("bias" in first) == ("bias" in second):
            yield f"order: {one} and {other} are swapped", _swapped(first, second)


@contextlib.contextmanager
def _swapped(first: nn.Module, second: nn.Module) -> Iterator[None]:
    before = dict(first), dict(second)
    names = [name for name in ("weight", "bias") if name in first]
    try:
        for name in names:
            first[name], second[name] = before[1][name], before[0][name]
        yield
    finally:
        for name in names:
            first[name], second[name] = before[0][name], before[1][name]


def _other_splits(call: Call) -> Iterator:
    counts: list[int] = []
    with _splits(lambda n, parts: counts.append(len(parts)) or parts):
        call.replay()
    for n, count in enumerate(counts[:MOST_SPLITS]):
        for order in _orders(count):
            sentence = (
                f"order: the {count} parts of a split are the reference's in the order {list(order)} (modulation)"
            )
            yield sentence, _splits(lambda at, parts, n=n, order=order: [parts[k] for k in order] if at == n else parts)


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    """Orders that porters confuse: every order of a few parts; for more parts, two swapped, halves swapped, or the same
    swap in each group.
    """
    usual = tuple(range(count))
    tried_orders = itertools.permutations(usual) if count <= 4 else _likely_orders(count)
    yield from (order for order in dict.fromkeys(tried_orders) if order != usual)


def _likely_orders(count: int) -> Iterator[tuple[int, ...]]:
    usual = tuple(range(count))
    for one, other in itertools.combinations(usual, 2):
        order = list(usual)
        order[one], order[other] = other, one
        yield tuple(order)
    for size in (size for size in (2, 3) if count % size == 0):
        for order in itertools.permutations(range(size)):
            yield tuple(start + place for start in range(0, count, size) for place in order)  # the same in each group
        yield tuple(place for start in range(size) for place in range(start, count, size))


@contextlib.contextmanager
def _splits(change: Callable) -> Iterator[None]:
    """``change(n, parts)`` returns the parts of the n-th split."""
    original, numbers = mx.split, itertools.count()

    def split(*args, **kwargs):
        return change(next(numbers), original(*args, **kwargs))

    with _attribute(mx, "split", split):
        yield


@contextlib.contextmanager
def _attribute(owner, name: str, value) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
