"""Weights that several modules of a reference share and a checkpoint stores once: which of these
modules a port keeps.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container

from mflux_port.draft.tree.nodes import Node
from mflux_port.draft.write.forward_text import is_proven

Moves = dict[str, tuple[tuple[str, str], ...]]


def move_to_readers(tree: Node, tensors: Container[str]) -> Moves:
    """Give the stored weight of tied embeddings to those that a forward pass reads.

    ``tensors``: the names in the checkpoint. An embedding that has the stored weight and that nothing reads is removed
    from the tree. Returns the places of each weight that goes elsewhere, as ``Source.moved`` has them.
    """
    moved: Moves = {}
    for paths in _embeddings(tree).values():
        stored = [path for path in paths if f"{path}.weight" in tensors]
        readers = [path for path in paths if path not in stored and is_read(tree, path)]
        if not (stored and readers):
            continue
        kept = [stored[0]] if is_read(tree, stored[0]) else []
        if not kept:
            _remove(tree, stored[0], f"its weight is loaded into {' and '.join(readers)}")
        moved[f"{stored[0]}.weight"] = tuple((f"{path}.weight", "") for path in [*kept, *readers])
    return moved


def drop(tree: Node, names: list[str]) -> list[str]:
    """Remove the modules of tied weights from the tree. Returns the paths of those that a forward pass reads."""
    modules = [name.rpartition(".")[0] for name in names]
    read = [module for module in modules if is_read(tree, module)]
    for module in modules:
        _remove(tree, module, "tied to another weight, which the checkpoint does not repeat")
    return read


def is_read(tree: Node, path: str) -> bool:
    """Whether a proven forward pass of the module above reads this one."""
    above, _, leaf = path.rpartition(".")
    parent = tree.find(above)
    methods = parent.forward.methods if parent is not None and is_proven(parent.forward) else []
    return any(re.search(rf"self\.{leaf}\b", method.text) for method in methods)


def _embeddings(tree: Node) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for path, node in tree.walk():
        if node.tied and node.kind == "Embedding":
            groups[node.tied].append(path)
    return groups


def _remove(tree: Node, path: str, why: str) -> None:
    above, _, leaf = path.rpartition(".")
    parent = tree.find(above)
    if parent is not None and parent.children.pop(leaf, None) is not None:
        parent.remarks.append(f"{leaf}: {why}")
