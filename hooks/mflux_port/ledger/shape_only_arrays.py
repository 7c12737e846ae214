"""Arrays with a shape and a type but no data: a ledger builds modules from them and sends them through a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_DRAWS = ("uniform", "normal")  # the functions with which mlx.nn layers create their weights


def shape_only_array(shape: tuple[int, ...], dtype):
    """An array of zeros that takes the memory of one number. ``dtype`` is MLX's."""
    import mlx.core as mx

    return mx.broadcast_to(_zero(dtype), shape)


@contextmanager
def shape_only_weights() -> Iterator[None]:
    """Inside this context, layers get shape-only arrays instead of random weights.

    Even a random array that is never evaluated holds 10 kB, its link in a chain of keys, and freeing it takes longer
    than the whole account of a tensor.
    """
    import mlx.core as mx

    drawn = {name: getattr(mx.random, name) for name in _DRAWS}
    for name, draw in drawn.items():
        setattr(mx.random, name, _shape_only_draw(draw))
    try:
        yield
    finally:
        for name, draw in drawn.items():
            setattr(mx.random, name, draw)


def _shape_only_draw(draw: Callable) -> Callable:
    import mlx.core as mx

    def shape_only_like(*arguments, **keywords):
        # Layers pass the shape by name; any other call goes to MLX.
        shape, dtype = keywords.get("shape"), keywords.get("dtype", mx.float32)
        if arguments or not isinstance(shape, tuple | list) or not isinstance(dtype, mx.Dtype):
            return draw(*arguments, **keywords)
        return shape_only_array(tuple(shape), dtype)

    return shape_only_like


@cache
def _zero(dtype):
    import mlx.core as mx

    return mx.zeros((), dtype)
