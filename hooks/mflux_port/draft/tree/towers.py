"""The parts of a text encoder that no prompt needs: towers for images or audio, and the output head."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mflux_port.draft.tree.nodes import MODULE, Node

TOWER = "the recorded run of the text encoder never calls it: a prompt has no images or audio"
HEAD = "the output head: a pipeline reads hidden states and no logits"


def left_out_heads(tree: Node, tensors: Iterable[str]) -> list[str]:
    """The paths of output heads that a checkpoint stores and the reference's tree leaves out."""
    stored = (name.rpartition(".")[0] for name in tensors if re.search(r"(^|\.)lm_head\.", name))
    return [path for path in dict.fromkeys(stored) if tree.find(path) is None]


def cut_towers(tree: Node) -> list[str]:
    """Remove every tower from a tree whose nodes have their forward passes. Returns their paths."""
    if not any(node.forward is not None for _, node in tree.walk()):
        return []  # nothing was recorded
    found: list[str] = []
    _cut("", tree, tree, found)
    return found


def _cut(path: str, node: Node, tree: Node, found: list[str]) -> None:
    for name, child in list(node.children.items()):
        place = f"{path}.{name}" if path else name
        if child.kind == MODULE and _is_tower(child, tree):
            del node.children[name]
            found.append(place)
        else:
            _cut(place, child, tree, found)


def _is_tower(node: Node, tree: Node) -> bool:
    # Norms and similar modules may have the same class inside and outside the tower.
    inside = {id(one) for _, one in node.walk()}
    outside = {one.group for _, one in tree.walk() if id(one) not in inside}
    ran = [one for _, one in node.walk() if one.forward is not None and one.group not in outside]
    return bool(node.group) and node.forward is None and not ran and _parts(node) > 1


def _parts(node: Node) -> int:
    return sum(one.kind == MODULE for _, one in node.walk())
