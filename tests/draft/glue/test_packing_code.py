"""Packing of latents: the written methods do what the pattern says, and undo it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from mflux_port.draft.glue.packing_code import packing

PATTERNS = [f"b c (h p) (w q) -> b (h w) ({' '.join(inner)}), p = q = 2" for inner in permutations("cpq")]
PATTERNS += [f"b c (h p) (w q) -> b ({' '.join(inner)}) h w, p = q = 2" for inner in permutations("cpq")]


@pytest.mark.parametrize("pattern", [*PATTERNS, "b c h w -> b (h w) (c)"])
def test_packing_follows_the_pattern_and_is_undone(pattern):
    latents = np.arange(1 * 3 * 4 * 6).reshape(1, 3, 4, 6)
    scope: dict = {"mx": np}
    exec(f"class Drafted:\n{packing(pattern).methods().replace('mx.array', 'object')}", scope)

    packed = scope["Drafted"]._pack(latents)

    for channel, row, column in ((0, 0, 0), (2, 3, 1), (1, 2, 5)):
        assert packed[_place(pattern, channel, row, column)] == latents[0, channel, row, column]
    assert np.array_equal(scope["Drafted"]._unpack(packed, latents.shape), latents)


def _place(pattern: str, channel: int, row: int, column: int) -> tuple:
    """The place of a number of (1, 3, 4, 6) latents after packing, read from the pattern."""
    patch = 2 if "p = q = 2" in pattern else 1
    inner = pattern.partition("-> b ")[2].replace("(h w)", "").partition("(")[2].partition(")")[0].split()
    sizes, values = {"c": 3, "p": 2, "q": 2}, {"c": channel, "p": row % patch, "q": column % patch}
    feature = 0
    for name in inner:
        feature = feature * sizes[name] + values[name]
    token = row // patch, column // patch
    if "-> b (h w)" in pattern:
        return 0, token[0] * (6 // patch) + token[1], feature
    return 0, feature, *token


def test_unknown_pattern_is_not_packing():
    assert packing("reshape to 1x2x3") is None and packing("unchanged") is None
