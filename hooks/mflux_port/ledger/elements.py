"""What a mapping makes of a tensor's numbers: each must arrive once, and fused projections in the order of their names.

Transforms are run on arrays that number their own elements.
"""

from __future__ import annotations

import re
from itertools import permutations
from math import prod

from mflux_port.ledger.expansion import Assignment

_SMALL = (6, 2, 3, 2, 2)  # so few numbers that bfloat16 tells them apart; six rows can be split in two and in three
_LARGEST = 2**25  # elements; beyond, the real shape is not tried
_LOST = "its transform loses or changes numbers"
_PART = re.compile(r"(?:^|[._])(?:to_|add_|wi?)?([qkv])(?:_?(?:proj|lin|linear))?(?=[._]|$)")
_ORDER = re.compile(r"(?:^|[._])(?:to_|add_|in_)?([qkv]{2,3})(?=[._]|$)")


def lost_elements(fills: list[Assignment]) -> str:
    """What is wrong with the numbers of a tensor that ``fills`` share between them, or ''."""
    transforms = [fill.transform for fill in fills]
    if len(fills) == 1 and transforms[0] is None:
        return ""
    shape, why = fills[0].before, ""
    if sum(fill.elements for fill in fills) != prod(shape):
        why = _LOST if len(fills) == 1 else _twice(fills)
    # A transform that is written for one size alone is run at that size.
    for sizes in (_small(shape, len(fills)), shape):
        parts = _run(transforms, sizes)
        if parts is not None and not (why := _judge(parts, prod(sizes), fills)):
            return ""
    return why


def _small(shape: tuple[int, ...], takers: int) -> tuple[int, ...]:
    if takers > 1 or len(shape) > len(_SMALL):
        return (*shape[:1], *(1 for _ in shape[1:]))
    return tuple(1 if size == 1 else small for size, small in zip(shape, _SMALL, strict=False))


def _run(transforms: list, sizes: tuple[int, ...]) -> list | None:
    import mlx.core as mx

    if prod(sizes) > _LARGEST:
        return None
    numbers = mx.arange(prod(sizes)).reshape(sizes)
    try:
        return [(transform(numbers) if transform else numbers).flatten() for transform in transforms]
    except Exception:  # noqa: BLE001 - a transform made for one size; at its own size its failure is a finding already
        return None


def _judge(parts: list, count: int, fills: list[Assignment]) -> str:
    import mlx.core as mx

    given = mx.sort(mx.concatenate(parts))
    if len(given) != count or not mx.array_equal(given, mx.arange(count)):
        return _LOST if len(fills) == 1 else _twice(fills)
    firsts = [part.min().item() for part in parts]
    placed = [(first, _PART.findall(fill.path)) for first, fill in sorted(zip(firsts, fills, strict=True), key=_first)]
    found = "".join(letters[-1] for _, letters in placed if letters)
    named = _ORDER.findall(fills[0].source)
    wanted = "".join(sorted(found, key=(named[-1] if named else "qkv").find))
    if len(set(found)) == len(found) and found != wanted:
        return f"its parts go to {', '.join(found)} in this order, which must be {', '.join(wanted)}"
    return ""


def _first(pair: tuple[int, Assignment]) -> int:
    return pair[0]


def _twice(fills: list[Assignment]) -> str:
    where = ", ".join(sorted(fill.path for fill in fills))
    return f"{len(fills)} targets share it, and some of its numbers go to none or to two: {where}"


def scrambled(transform, before: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a convolution's weight that becomes a matrix has the numbers of one output in more than one row."""
    import mlx.core as mx

    if prod(before) > _LARGEST or prod(shape) != prod(before):
        return False
    numbers = mx.arange(prod(before)).reshape(before)
    given = transform(numbers)
    orders = ((0, *order) for order in permutations(range(1, len(before))))
    return not any(mx.array_equal(given, numbers.transpose(*order).reshape(shape)) for order in orders)
