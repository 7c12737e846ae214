"""The keywords of a drafted class are the names in its sizes, never words inside strings."""

from __future__ import annotations

import pytest
from mflux_port.draft.tree.nodes import MODULE, Node
from mflux_port.draft.write.group_into_classes import draft_classes


@pytest.mark.parametrize(
    ("value", "keywords"),
    [
        ("('full_attention', 'sliding_attention')", {}),
        ("'gelu_new'", {}),
        ("(('axial', 'full'), 3)", {}),
        ("1e-06", {}),
        ("num_heads", {"num_heads": "int"}),
        ("max(width, 256)", {"width": "int"}),
        ("tuple(axes)", {"axes": "tuple[int, ...]"}),
        ("2 * width + num_heads", {"width": "int", "num_heads": "int"}),
    ],
)
def test_words_in_strings_are_not_keywords(value, keywords):
    linear = Node("Linear", arguments={"input_dims": "8", "output_dims": value, "bias": "False"})
    tree = Node(MODULE, "Nova", children={"proj": linear})
    (drafted,) = draft_classes(tree, "Nova", ("NovaTransformer", "transformer"), set())
    assert drafted.parameters == keywords
