"""Convert an MLX array to the shape of the reference's tensor and back. Layouts may differ, values may not.

Known differences: axes of length 1, permuted axes ([S,B,H] and [B,S,H], NCHW and NHWC), merged axes ((B,HW,C) and
(B,C,H,W)), rows that only one side computes (text tokens, padding), keys and values repeated for grouped queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np

from parity.metrics import Distance, distance

Shape = tuple[int, ...]
CONVINCING = 0.3  # a layout with an error below this is the right one; wrong layouts are far off


@dataclass(frozen=True)
class Alignment:
    """``split``: MLX's axes, split as finely as on either side; ``axes``: their order in the reference; ``shape``:
    MLX's shape.

    ``part`` cuts the reference to the rows that MLX has, ``own`` cuts MLX to the rows that the reference has.
    ``repeat`` is (axis, times): MLX keeps one key where the reference has it several times.
    """

    split: Shape
    axes: Shape
    shape: Shape
    reference: Shape
    part: tuple[slice, ...] = ()
    own: tuple[slice, ...] = ()
    repeat: tuple[int, int] = (0, 1)

    @property
    def whole(self) -> bool:
        """Whether both sides have all values."""
        return not self.part and not self.own

    def to_reference(self, values: np.ndarray) -> np.ndarray:
        """MLX's values in the reference's order and shape (its part)."""
        moved = values.reshape(self.split).transpose(self.axes)
        if self.own:
            moved = moved[self.own]
        if self.repeat[1] > 1:
            moved = np.repeat(moved, self.repeat[1], axis=self.repeat[0])
        return moved if self.part or self.own or self.repeat[1] > 1 else moved.reshape(self.reference)

    def of_reference(self, values: np.ndarray) -> np.ndarray:
        """The reference's values that MLX has."""
        if not self.part:
            return values.reshape(self._squeezed) if self.own or self.repeat[1] > 1 else values
        return values.reshape(self._squeezed)[self.part]

    def to_mlx(self, values: np.ndarray) -> np.ndarray | None:
        """The reference's values in MLX's layout; None if the reference lacks some of them."""
        if self.own or self.repeat[1] > 1:
            return None
        inverse = np.argsort(self.axes)
        fine = tuple(self.split[a] for a in self.axes)
        return self.of_reference(values).reshape(fine).transpose(inverse).reshape(self.shape)

    @property
    def _squeezed(self) -> Shape:
        return tuple(length for length in self.reference if length != 1)


def align(
    reference: np.ndarray, values: np.ndarray, repeats: bool = False, channels_last: bool = False
) -> tuple[Alignment, Distance] | None:
    """The layout that explains ``values``, with the remaining distance; None when the shapes do not fit.

    A layout that needs no cutting is preferred. Where several fit, the values decide; for a module that is known to
    have its ``channels_last``, only that layout is possible.
    """
    best: tuple[Alignment, Distance] | None = None
    for group in _groups(tuple(reference.shape), tuple(values.shape), repeats, channels_last):
        for alignment in group:
            found = distance(alignment.of_reference(reference), alignment.to_reference(values))
            if best is None or found.relative < best[1].relative and best[1].relative > CONVINCING:
                best = alignment, found
        if best is not None and best[1].relative <= CONVINCING:
            return best
    return best


def fits(reference: Shape, shape: Shape) -> bool:
    """Whether some layout fits both shapes without cutting."""
    return bool(layouts(tuple(reference), tuple(shape)))


def _groups(reference: Shape, shape: Shape, repeats: bool, channels_last: bool) -> Iterator[list[Alignment]]:
    exact = picture_layout(reference, shape) if channels_last else ()
    exact = exact or layouts(reference, shape)
    if exact:
        yield list(exact)
        return
    if repeats:
        yield list(_repeated(reference, shape))
    yield list(cuts(reference, shape))


@lru_cache(maxsize=4096)
def layouts(reference: Shape, shape: Shape) -> tuple[Alignment, ...]:
    wanted, own = _squeeze(reference), _squeeze(shape)
    if int(np.prod(wanted, dtype=np.int64)) != int(np.prod(own, dtype=np.int64)) or max(len(wanted), len(own)) > 6:
        return ()
    if wanted == own:
        # Even if all axes are equal, channels may come last.
        cube = picture_layout(reference, shape) if len(wanted) >= 3 and len(set(wanted)) == 1 else ()
        return Alignment(own, tuple(range(len(own))), shape, reference), *cube
    found = [
        Alignment(tuple(wanted[a] for a in order), tuple(int(a) for a in np.argsort(order)), shape, reference)
        for order in permutations(range(len(wanted)))
        if _merges(order, wanted, own)
    ]
    found += [
        Alignment(own, order, shape, reference)
        for order in permutations(range(len(own)))
        if len(own) > len(wanted) and _merges(order, own, wanted)
    ]
    return tuple(found)


def picture_layout(reference: Shape, shape: Shape) -> tuple[Alignment, ...]:
    """The only layout of a picture with its channels first in the reference and last in MLX; empty for other shapes."""
    if len(shape) != len(reference) or len(shape) < 4 or shape != (reference[0], *reference[2:], reference[1]):
        return ()
    return (Alignment(shape, (0, len(shape) - 1, *range(1, len(shape) - 1)), shape, reference),)


def _merges(order: tuple[int, ...], fine: Shape, coarse: Shape) -> bool:
    # Whether ``fine`` in this order becomes ``coarse`` by merging neighbours. Merged axes keep their order:
    # height before width on both sides, or a swap of the two would be missed.
    at = 0
    for length in coarse:
        product, last = 1, -1
        while product < length and at < len(order):
            if last > order[at]:
                return False
            product, last, at = product * fine[order[at]], order[at], at + 1
        if product != length:
            return False
    return at == len(order)


@lru_cache(maxsize=4096)
def cuts(reference: Shape, shape: Shape) -> tuple[Alignment, ...]:
    """Layouts in which one side has only the first or the last rows of the other."""
    wanted, own = _squeeze(reference), _squeeze(shape)
    if len(wanted) != len(own) or len(wanted) < 2:
        return ()
    found = []
    for axes in permutations(range(len(own))):
        moved = tuple(own[a] for a in axes)
        different = [n for n, (a, b) in enumerate(zip(wanted, moved, strict=True)) if a != b]
        if len(different) != 1:
            continue
        axis, last = different[0], len(own) - 1
        if (axis == last) != (axes[axis] == last):  # rows on one side, the width on the other: the shapes fit by chance
            continue
        for rows in _ends(wanted[axis], moved[axis]):
            cut = tuple(rows if n == axis else slice(None) for n in range(len(wanted)))
            longer = wanted[axis] > moved[axis]
            found.append(Alignment(own, axes, shape, reference, cut if longer else (), () if longer else cut))
    return tuple(found)


@lru_cache(maxsize=4096)
def _repeated(reference: Shape, shape: Shape) -> tuple[Alignment, ...]:
    wanted, own = _squeeze(reference), _squeeze(shape)
    if len(wanted) != len(own):
        return ()
    found = []
    for axis, (a, b) in enumerate(zip(wanted, own, strict=True)):
        rest = wanted[:axis] + wanted[axis + 1 :] == own[:axis] + own[axis + 1 :]
        if rest and a != b and a % b == 0:
            found.append(Alignment(own, tuple(range(len(own))), shape, reference, repeat=(axis, a // b)))
        if rest and a != b and b % a == 0:
            every = tuple(slice(None, None, b // a) if n == axis else slice(None) for n in range(len(own)))
            found.append(Alignment(own, tuple(range(len(own))), shape, reference, own=every))
    return tuple(found)


def _ends(one: int, other: int) -> tuple[slice, slice]:
    longer, shorter = max(one, other), min(one, other)
    return slice(0, shorter), slice(longer - shorter, longer)


def _squeeze(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)
