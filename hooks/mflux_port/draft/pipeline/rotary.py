"""Tables of rotary embeddings that a pipeline computes and passes to its transformer: complex numbers by row and
column.
"""

from __future__ import annotations

import math

_NEAR = 1e-4


def rotary(values: list, sizes: list[dict[str, int]], attributes: dict[str, int]) -> dict | None:
    """The rule of a table in several runs; None for a table of another form.

    ``values``: (rows, columns, half of a head) of each run; ``sizes``: the image's, by name; ``attributes``: whole
    numbers of the transformer, by name. A number rotates by its row or by its column, at frequencies that fall from 1
    to 1 / theta, all divided by one factor: a constant, or the root of the image's pixels over ``side``.
    """
    found = [_frequencies(value) for value in values]
    if None in found or len({(one["layout"], one["theta"]) for one in found}) > 1:
        return None
    if len({tuple(value.shape) for value in values}) > 1:
        return None  # a table that depends on the image's size
    width = 2 * values[0].shape[-1]
    names = [name for name, number in attributes.items() if number == width and name.endswith("head_dim")]
    factor = _factor([one["factor"] for one in found], sizes)
    if not names or factor is None:
        return None
    kept = {name: found[0][name] for name in ("layout", "theta")}
    return {"is": "rotary", "positions": list(values[0].shape[:2]), "width": names[0], **kept, **factor}


def _frequencies(value) -> dict | None:
    import numpy as np

    table = np.asarray(value)
    if table.ndim != 3 or min(table.shape[:2]) < 2 or table.shape[-1] < 4 or table.shape[-1] % 2:
        return None
    by_row, half = table[1, 0] != 1, table.shape[-1] // 2
    orders = {"alternating": [True, False] * half, "rows first": [True] * half + [False] * half}
    layout = next((name for name, order in orders.items() if by_row.tolist() == order), None)
    last = np.angle(table[1, 0][by_row])[-2:]  # the lowest frequencies: the others may rotate by more than a full turn
    if layout is None or (last <= 0).any():
        return None
    theta = round(float(last[0] / last[1]) ** half)
    first = float(last[1]) * theta ** ((half - 1) / half)
    frequencies = np.zeros(table.shape[-1])
    for axis in (by_row, ~by_row):
        frequencies[axis] = first * float(theta) ** (-np.arange(half) / half)
    rows, columns = (np.arange(size)[:, None] * frequencies for size in table.shape[:2])
    turns = np.where(by_row, rows[:, None], columns[None])
    is_right = np.allclose(np.exp(1j * turns), table, atol=1e-2)
    return {"layout": layout, "theta": theta, "factor": 1 / first} if is_right else None


def _factor(factors: list[float], sizes: list[dict[str, int]]) -> dict | None:
    if all(math.isclose(factor, factors[0], rel_tol=_NEAR) for factor in factors):
        return {"factor": round(factors[0], 6)}
    sides = [
        math.sqrt(size["pixel height"] * size["pixel width"]) / factor
        for factor, size in zip(factors, sizes, strict=True)
    ]
    if all(math.isclose(side, sides[0], rel_tol=_NEAR) for side in sides):
        return {"side": round(sides[0], 3)}
    return None
