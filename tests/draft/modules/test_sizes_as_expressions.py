"""Sizes as expressions of a config's names, from trees written by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from mflux_port.checkpoint.component_sizes import Size
from mflux_port.draft.tree.from_reference import _keeps_heads, _Place
from mflux_port.draft.tree.nodes import MODULE, Node
from mflux_port.draft.tree.sizes import Observation, express


def attention(heads: int, width: int = 96, groups: int = 2) -> Node:
    """An attention that keeps its number of heads, and has keys of ``groups`` heads."""
    keys = Node("Linear", arguments={"input_dims": str(width), "output_dims": str(width // heads * groups)})
    return Node(MODULE, "Attention", children={"to_k": keys}, scalars={"heads": str(heads)})


@pytest.mark.parametrize(
    ("factors", "heads", "keys"),
    [
        ((2, 4), "heads", "96 * groups // heads"),
        ((2, 3), "heads", "96 * groups // heads"),  # a reference that refuses four times the heads
        ((Fraction(1, 2), 3), "heads", "96 * groups // heads"),
        ((2,), "4", "24 * groups"),  # one other number proves nothing
    ],
)
def test_number_of_heads_is_found_at_any_accepted_factor(factors, heads, keys):
    trees = {factor: attention(int(4 * factor)) for factor in factors}
    seen = [
        Observation("heads", 4, trees),
        Observation("groups", 2, {2: attention(4, groups=4), 4: attention(4, groups=8)}),
    ]
    found = express(attention(4), seen)
    assert found.scalars["heads"] == heads
    assert found.children["to_k"].arguments["output_dims"] == keys


@pytest.mark.parametrize("power", [0.5, -0.5])
def test_a_factor_is_the_root_of_a_size_or_one_over_it(power):
    def scaled(width: int) -> Node:
        return Node(MODULE, "Embedding", scalars={"factor": repr(float(width) ** power)})

    found = express(scaled(2048), [Observation("width", 2048, {2: scaled(4096), 3: scaled(6144)})])
    assert found.scalars["factor"] == f"width**{power}"


@pytest.mark.parametrize(
    ("factor", "kept"), [(2, True), (Fraction(1, 2), True), (Fraction(1, 16), False), (Fraction(1, 5), False)]
)
def test_a_width_stays_a_multiple_of_the_number_of_heads(factor, kept):
    sizes = {"hidden_size": Size("", "hidden_size", 2304), "num_heads": Size("", "num_heads", 32)}
    assert _keeps_heads(_Place("", "hidden_size", None, 2304), factor, sizes) == kept
    assert _keeps_heads(_Place("", "num_heads", None, 32), Fraction(1, 2), sizes)
