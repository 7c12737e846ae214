"""Match the elements of one tensor with those of another, by sending numbers through the code between them.

Shapes do not show it: (1, 16, 64) may be 16 patches of 64 numbers or 16 channels of an 8x8 picture. Numbers do: if 1,
2, 3 … replace the noise, the place of each shows the order that the code gave them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
Enough = Callable[[set[str], set[str]], bool]  # takes the names that were found, and all names
# Bases of the digits that are sent where numbers are scaled, shifted or rounded. bfloat16 holds the digits of both
# exactly; the smaller base is for numbers that are shifted in bfloat16, and takes more runs.
BASES = 64, 16
NOTHING = -1
MOST_AXES = 6


@dataclass(frozen=True)
class Order:
    """``ids`` has a tensor's shape: for each element its index in the source, NOTHING for one from elsewhere.

    ``factor`` is what the elements were multiplied by, the median when they differ.
    """

    ids: np.ndarray
    factor: float = 1.0

    def of_size(self, size: int) -> Order | None:
        """The order of a tensor with ``size`` elements, which may lack those from elsewhere; None for any other size.

        A transformer may return its text rows in the first step only.
        """
        known = self.ids[self.ids != NOTHING]
        return self if size == self.ids.size else Order(known, self.factor) if size == known.size else None

    def to_source(self, values: np.ndarray, size: int) -> np.ndarray:
        """The tensor's values in the source's order, a flat array of ``size``; NaN where the tensor lacks an element."""
        known = self.ids.reshape(-1) != NOTHING
        found = np.full(size, np.nan, np.float32)
        found[self.ids.reshape(-1)[known]] = values.reshape(-1)[known]
        return found

    def of_source(self, source: np.ndarray, own: np.ndarray) -> np.ndarray:
        """The source's values in the tensor's order. Other elements keep the values of ``own``."""
        known = self.ids != NOTHING
        moved = np.array(own, np.float32).reshape(self.ids.shape)
        moved[known] = source.reshape(-1)[self.ids[known]]
        return moved.reshape(own.shape)

    def after(self, links: np.ndarray) -> Order:
        """The order with every id replaced by ``links[id]``."""
        padded = np.append(links, NOTHING)  # NOTHING, which is -1, stays what it is
        return Order(padded[self.ids], self.factor)

    def inverse(self, size: int) -> np.ndarray:
        """For each of the source's ``size`` elements, its index in the flat tensor; NOTHING when it is missing."""
        flat = self.ids.reshape(-1)
        found = np.full(size, NOTHING, np.int64)
        known = np.flatnonzero(flat != NOTHING)
        found[flat[known][::-1]] = known[::-1]  # the first of several copies
        return found


def trace(run: Run, size: int, enough: Enough = lambda found, names: found == names) -> dict[str, Order]:
    """The order of each tensor that ``run`` returns when it is given ``size`` numbers.

    Tensors that do not change are left out.

    One run is enough if the numbers arrive unchanged (or with another sign); else they are sent digit by digit.
    """
    first = run(np.arange(1, size + 1, dtype=np.float32))
    found = {name: _exact(values, size) for name, values in first.items()}
    missing = [name for name, order in found.items() if order is None]
    if missing and not enough(set(found) - set(missing), set(found)):
        found |= _by_digits(run, size, missing)
    return {name: order for name, order in found.items() if order is not None}


def _exact(values: np.ndarray, size: int) -> Order | None:
    for sign in (1.0, -1.0):
        numbers = sign * values.astype(np.float64)
        whole = (numbers == np.round(numbers)) & (numbers >= 1) & (numbers <= size)
        ids = np.where(whole, numbers - 1, NOTHING).astype(np.int64)
        if np.count_nonzero(np.bincount(ids[whole], minlength=size)) == size:
            return Order(ids, sign)
    return None


def _by_digits(run: Run, size: int, names: list[str]) -> dict[str, Order | None]:
    # value = a * digit + b, with a separate a and b for each element.
    zero, one = run(np.zeros(size, np.float32)), run(np.ones(size, np.float32))
    names = [name for name in names if name in zero and name in one]
    zeros = {name: _finite(zero[name]) for name in names}
    factors = {name: _finite(one[name]) - zeros[name] for name in names}
    found: dict[str, Order | None] = {}
    for base in BASES:
        found = _with_base(run, size, base, zeros, factors)
        if any(
            order is not None and len(np.unique(order.ids[order.ids != NOTHING])) == size for order in found.values()
        ):
            break
    return found


def _with_base(run: Run, size: int, base: int, zeros: dict, factors: dict) -> dict[str, Order | None]:
    alive = {name: np.abs(a) > 1e-4 * np.abs(a).max(initial=0.0) for name, a in factors.items()}
    ids = {name: np.zeros(a.shape, np.int64) for name, a in factors.items()}
    numbers, weight = np.arange(size), 1
    while weight < size:
        sent = run((numbers // weight % base).astype(np.float32))
        for name, a in factors.items():
            if name not in sent:
                alive[name][...] = False
                continue
            digit = (_finite(sent[name]) - zeros[name]) / np.where(alive[name], a, 1.0)
            alive[name] &= (np.abs(digit - np.round(digit)) < 0.3) & (digit > -0.5) & (digit < base - 0.5)
            ids[name] += weight * np.round(np.where(alive[name], digit, 0)).astype(np.int64)
        weight *= base
    return {name: _order(ids[name], alive[name], factors[name], size) for name in factors}


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)  # masks are not part of the latents


def _order(ids: np.ndarray, alive: np.ndarray, factors: np.ndarray, size: int) -> Order | None:
    alive = alive & (ids < size)
    if not alive.any():
        return None
    return Order(np.where(alive, ids, NOTHING), float(np.median(factors[alive])))


def inputs_found(found: set[str], names: set[str]) -> bool:
    """Whether the order is known for the loop's latents and for those passed to each transformer's first call."""
    calls = {name.rpartition("/")[0] for name in names if "/" in name}
    return "sample" in found and all(any(name.startswith(f"{call}/") for name in found) for call in calls)


def rows_of(order: Order, size: int) -> list[Order]:
    """The order of each row of a batch if every row holds all of the source's elements; else the only one."""
    ids = order.ids
    if ids.ndim > 1 and len(ids) > 1 and all(len(np.unique(row[row != NOTHING])) == size for row in ids):
        return [Order(row[None], order.factor) for row in ids]
    return [order]


def axis_links(reference: tuple[int, ...], own: tuple[int, ...]) -> list[np.ndarray]:
    """Every way to match two tensors by permuting axes alone: own flat index to the reference's.

    The one that moves no axis comes first.
    """
    wanted, given = (tuple(length for length in shape if length != 1) for shape in (reference, own))
    if sorted(wanted) != sorted(given) or len(wanted) > MOST_AXES:
        return []
    numbers = np.arange(int(np.prod(wanted, dtype=np.int64))).reshape(wanted)
    return [
        numbers.transpose(axes).reshape(-1)
        for axes in permutations(range(len(wanted)))
        if tuple(wanted[axis] for axis in axes) == given
    ]


def vae_links(reference: Order, own: Order, size: int) -> np.ndarray | None:
    """The inputs of both VAEs link the loops: own loop id to the reference's; None when the two do not fit.

    The reference's first convolution takes channels first, MLX's channels last. What an order lacks was padded.
    """
    wanted, given = _picture(reference.ids), _picture(np.moveaxis(own.ids, -1, 1))
    if wanted.shape != given.shape:
        return None
    links = np.full(size, NOTHING, np.int64)
    known = given != NOTHING
    links[given[known]] = wanted[known]
    return links if len(np.unique(links)) == size and links.min() >= 0 else None


def _picture(ids: np.ndarray) -> np.ndarray:
    # Channels, height and width, without padding and without an axis for time.
    for axis in range(2, ids.ndim):
        others = tuple(n for n in range(ids.ndim) if n != axis)
        ids = ids.take(np.flatnonzero((ids != NOTHING).any(axis=others)), axis=axis)
    ids = ids[0]
    return ids[:, 0] if ids.ndim == 4 and ids.shape[1] == 1 else ids
