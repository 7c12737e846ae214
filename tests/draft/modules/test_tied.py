"""A weight that several modules of the reference share: the port keeps those that a forward pass reads."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from mflux_port.checkpoint.headers import Tensor
from mflux_port.draft.tied_weights import drop, move_to_readers
from mflux_port.draft.tree.nodes import MODULE, Node
from mflux_port.draft.write.targets import Source, draft_mapping


@dataclass
class Method:
    text: str


class Forward:
    """A verified forward pass with one method."""

    is_verified = True

    def __init__(self, text: str):
        self.methods = [Method(text)]


def model(reads: str, decoder: bool = False) -> Node:
    """A T5 as in transformers: one embedding at the top and in every stack. ``reads``: the ones that are used."""

    def stack(name: str) -> Node:
        used = "return self.embed_tokens(ids)" if name in reads else "return ids"
        return Node(MODULE, "Stack", children={"embed_tokens": embedding()}, forward=Forward(used))

    def embedding() -> Node:
        return Node("Embedding", arguments={"num_embeddings": "100", "dims": "8"}, tied="shared")

    children = {"shared": embedding(), "encoder": stack("encoder")} | ({"decoder": stack("decoder")} if decoder else {})
    return Node(MODULE, "T5", children=children, forward=Forward("self.shared(ids)" if "shared" in reads else "ids"))


def mapped(tree: Node, stored: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The drafted targets, and the embeddings that are left in the tree."""
    tensors = {f"{path}.weight": Tensor(f"{path}.weight", "BF16", (100, 8)) for path in stored}
    source = Source(tensors, {}, certain=True)
    source.moved = move_to_readers(tree, tensors)
    mapping = draft_mapping("text_encoder", source, tree)
    assert drop(tree, mapping.tied) == [] and mapping.unresolved == []
    targets = [(target.from_pattern, target.to_pattern) for target in mapping.targets]
    return targets, [path for path, node in tree.walk() if node.kind == "Embedding"]


SHARED, ENCODER, DECODER = "shared", "encoder.embed_tokens", "decoder.embed_tokens"


@pytest.mark.parametrize(
    ("reads", "stored", "pairs"),
    [
        ("encoder", [SHARED], [(SHARED, ENCODER)]),
        ("encoder", [ENCODER], [(ENCODER, ENCODER)]),
        ("encoder", [SHARED, ENCODER], [(SHARED, SHARED), (ENCODER, ENCODER)]),
        ("shared", [SHARED], [(SHARED, SHARED)]),
        ("shared", [ENCODER], [(ENCODER, SHARED)]),
        ("shared and encoder", [SHARED], [(SHARED, SHARED), (SHARED, ENCODER)]),
        ("nothing", [SHARED], [(SHARED, SHARED)]),
    ],
)
def test_stored_weight_goes_to_the_module_that_reads_it(reads, stored, pairs):
    targets, left = mapped(model(reads), stored)
    assert targets == [(f"{source}.weight", f"{goal}.weight") for source, goal in pairs]
    assert sorted(left) == sorted(goal for _, goal in pairs)


@pytest.mark.parametrize("stored", [SHARED, ENCODER, DECODER])
def test_several_stacks_read_the_one_stored_weight(stored):
    targets, left = mapped(model("encoder and decoder", decoder=True), [stored])
    assert {goal for _, goal in targets} == {f"{ENCODER}.weight", f"{DECODER}.weight"}
    assert {source for source, _ in targets} == {f"{stored}.weight"} and sorted(left) == [DECODER, ENCODER]


def test_head_that_is_read_but_not_stored_is_reported():
    head = Node("Linear", arguments={"input_dims": "8", "output_dims": "100"}, tied="shared")
    tree = Node(MODULE, "Model", children={"lm_head": head}, forward=Forward("return self.lm_head(x)"))
    assert move_to_readers(tree, []) == {} and drop(tree, ["lm_head.weight"]) == ["lm_head"]
    assert "lm_head: tied to another weight" in tree.remarks[0]
