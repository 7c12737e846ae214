"""Towers that no recorded run calls: which part of a tree is one, and the entries of waivers.yml."""

from __future__ import annotations

import pytest
from mflux_port.draft.tree.nodes import LIST, MODULE, Node
from mflux_port.draft.tree.towers import cut_towers, left_out_heads
from mflux_port.draft.write.waiver_entries import waivers_text
from mflux_port.errors import PortError
from mflux_port.ledger.waivers import read_waivers

RAN = object()


def module(group: str, ran: bool, **children: Node) -> Node:
    return Node(MODULE, group.title(), group=group, forward=RAN if ran else None, children=children)


def block(ran: bool, prefix: str = "") -> Node:
    return module(f"{prefix}block", ran, norm=module("norm", True), proj=Node("Linear"))


def tower() -> Node:
    return module(
        "vision", False, blocks=Node(LIST, children={"0": block(False, "vision_")}), merger=module("merger", False)
    )


def text_model() -> Node:
    return module("language", True, layers=Node(LIST, children={"0": block(True)}))


def test_tower_that_never_ran_is_left_out():
    tree = module("root", True, model=module("model", True, visual=tower(), language_model=text_model()))
    assert cut_towers(tree) == ["model.visual"]
    assert tree.find("model.visual") is None and tree.find("model.language_model.layers.0.proj") is not None


@pytest.mark.parametrize(
    "tree",
    [
        module("root", True, model=text_model()),
        # Called module by module: its own forward never ran, but those of its children did.
        module("root", True, text_model=module("wrapper", False, layer=block(True), final=module("last", True))),
        # Only a prefix of the checkpoint's names.
        module("root", True, model=Node(MODULE, "Model", children={"layer": block(True)})),
        # Nothing was recorded at all.
        module("root", False, visual=tower(), layer=module("block", False)),
    ],
)
def test_module_that_ran_in_any_way_stays(tree):
    before = [path for path, _ in tree.walk()]
    assert cut_towers(tree) == [] and [path for path, _ in tree.walk()] == before


def test_stored_output_head_is_left_out_if_the_tree_has_none():
    tree = module("root", True, model=module("model", True, language_model=text_model()))
    tensors = ["model.language_model.layers.0.proj.weight", "lm_head.weight", "lm_head.bias"]
    assert left_out_heads(tree, tensors) == ["lm_head"] and left_out_heads(tree, tensors[:1]) == []
    assert left_out_heads(module("root", True, lm_head=Node("Linear")), tensors) == []


ENTRY = '- {component: text_encoder, tensor: "visual.*", reason: "never entered"}\n'


@pytest.mark.parametrize(
    "text",
    [
        None,
        "parity:\n- module: a\n  reason: one two three\n",
        "# mine\nledger:\n- {component: vae, tensor: x, reason: it is so}\nparity: []\n",
        "ledger:\n  - component: vae\n    tensor: x\n    reason: it is so\n",
        "ledger:\n",
    ],
)
def test_entry_is_added_once_and_the_others_stay(tmp_path, text):
    path = tmp_path / "waivers.yml"
    if text is not None:
        path.write_text(text)
    before = {name: dict(one.tensors) for name, one in read_waivers(path).items()}
    made = waivers_text(path, before, {"text_encoder": {"visual.*": "never entered"}, "text_encoder_2": {}})
    path.write_text(made)
    after = {name: dict(one.tensors) for name, one in read_waivers(path).items()}
    assert after == before | {"text_encoder": {"visual.*": "never entered"}}
    assert set((text or "").splitlines()) <= set(made.splitlines())
    assert waivers_text(path, after, {"text_encoder": {"visual.*": "never entered"}}) is None


def test_section_on_one_line_is_refused(tmp_path):
    path = tmp_path / "waivers.yml"
    path.write_text("ledger: [{component: vae, tensor: x, reason: it is so}]\n")
    with pytest.raises(PortError, match="write it as `ledger:`"):
        waivers_text(path, {}, {"text_encoder": {"visual.*": "never entered"}})
