"""Check that a mapping keeps a tensor's elements: each arrives once, and fused projections in the order of their names.

Transforms are run on arrays whose elements are their own positions.
"""

from __future__ import annotations

import re
from itertools import permutations
from math import prod
from typing import NamedTuple

from mflux_port.ledger.expansion import Assignment

# Few enough elements that bfloat16 can number them; six rows can be split into two parts and into three.
_SMALL = (6, 2, 3, 2, 2)
_LARGEST = 2**25  # above this, the real shape is not tried
_PART = re.compile(r"(?:^|[._])(?:to_|add_|wi?)?([qkv])(?:_?(?:proj|lin|linear))?(?=[._]|$)")
_ORDER = re.compile(r"(?:^|[._])(?:to_|add_|in_)?([qkv]{2,3})(?=[._]|$)")


class Fault(NamedTuple):
    """What a mapping does wrong with one tensor: the kind of the finding, the reason, and whether a waiver may cover
    it.
    """

    kind: str
    why: str
    waivable: bool = False


def element_fault(assignments: list[Assignment]) -> Fault | None:
    """What is wrong with one tensor's elements after all of its ``assignments``, or None."""
    transforms = [assignment.transform for assignment in assignments]
    if len(assignments) == 1 and transforms[0] is None:
        return None
    shape, fault = assignments[0].before, None
    if sum(assignment.elements for assignment in assignments) != prod(shape):
        fault = _lost(assignments)
    # A transform written for one size runs only at that size.
    for sizes in (_small(shape, len(assignments)), shape):
        parts = _run(transforms, sizes)
        if parts is not None and (fault := _judge(parts, prod(sizes), assignments)) is None:
            return None
    return fault


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
    except Exception:  # noqa: BLE001 - made for one size, at which a failure is already a finding
        return None


def _judge(parts: list, count: int, assignments: list[Assignment]) -> Fault | None:
    import mlx.core as mx

    positions = mx.sort(mx.concatenate(parts))
    if len(positions) != count or not mx.array_equal(positions, mx.arange(count)):
        return _lost(assignments)
    return _order_of_parts([part.min().item() for part in parts], assignments)


def _order_of_parts(firsts: list[int], assignments: list[Assignment]) -> Fault | None:
    # The letters q, k, v of the destinations, in the order of their parts in the fused tensor.
    in_order = sorted(zip(firsts, assignments, strict=True), key=lambda pair: pair[0])
    letters = [_PART.findall(assignment.path) for _, assignment in in_order]
    found = "".join(part[-1] for part in letters if part)
    named = _ORDER.findall(assignments[0].source)
    expected = "".join(sorted(found, key=(named[-1] if named else "qkv").find))
    if len(set(found)) != len(found) or found == expected:
        return None
    why = f"its parts go to {', '.join(found)} in this order, which must be {', '.join(expected)}"
    return Fault("wrong order", why)


def _lost(assignments: list[Assignment]) -> Fault:
    if len(assignments) == 1:
        return Fault("changed numbers", "its transform loses or changes numbers", waivable=True)
    where = ", ".join(sorted(assignment.path for assignment in assignments))
    why = f"{len(assignments)} targets share it, and some of its elements go to none or to two: {where}"
    return Fault("taken twice", why)


def scrambled(transform, before: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a convolution's weight that becomes a matrix has the elements of one output in more than one row."""
    import mlx.core as mx

    if prod(before) > _LARGEST or prod(shape) != prod(before):
        return False
    numbers = mx.arange(prod(before)).reshape(before)
    given = transform(numbers)
    orders = ((0, *order) for order in permutations(range(1, len(before))))
    return not any(mx.array_equal(given, numbers.transpose(*order).reshape(shape)) for order in orders)
