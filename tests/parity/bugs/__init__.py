"""Typical porting bugs, put into the released ports, with the modules that the harness must name for each.

The expected answers were written before the bugs were first run. Needs mflux and MLX: runs inside the environment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class Bug:
    """``expected`` are patterns (fnmatch) of module paths; an answer that matches one of them is right.

    ``cause`` is a pattern (re) that the answer's line must match, if one is given. ``dtypes`` are those of the runs
    that can show it.
    """

    name: str
    apply: Callable
    expected: tuple[str, ...]
    reference: str = "modules"
    cause: str = ""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")


@contextlib.contextmanager
def replaced(owner, name: str, value) -> Iterator[None]:
    """``owner.name`` is ``value`` inside this context.

    MLX keeps parameters and children as items, the rest as attributes.
    """
    if isinstance(owner, dict) and name in owner:
        before, owner[name] = owner[name], value
        try:
            yield
        finally:
            owner[name] = before
        return
    had, before = name in vars(owner), vars(owner).get(name)  # not what a class inherits
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before) if had else delattr(owner, name)


@contextlib.contextmanager
def swapped(one, other, name: str = "weight") -> Iterator[None]:
    """Two modules with each other's weights."""
    mine, theirs = one[name], other[name]
    with replaced(one, name, theirs), replaced(other, name, mine):
        yield


def unloaded(module, name: str = "weight"):
    """A parameter keeps its random initial values."""
    value = module[name]
    noise = mx.random.normal(value.shape, key=mx.random.key(7)) * value.shape[-1] ** -0.5
    return replaced(module, name, noise.astype(value.dtype))


@contextlib.contextmanager
def without(module, name: str) -> Iterator[None]:
    """A layer that was built without one of its parameters, as ``nn.Linear(..., bias=False)`` is."""
    value = module.pop(name)
    try:
        yield
    finally:
        module[name] = value


def rearranged(module, change: Callable, name: str = "weight"):
    """A parameter holds its values in another order, in the same shape."""
    value = module[name]
    changed = mx.contiguous(change(value)).reshape(value.shape)
    mx.eval(changed)
    return replaced(module, name, changed)
