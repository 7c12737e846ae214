"""Renames a reference's tree to the names of a checkpoint: older repos have other prefixes than today's library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.tensor_names import is_list_index
from mflux_port.draft.tree.nodes import LIST, MODULE, Node


def align(tree: Node, tensors: dict[str, Tensor]) -> Node:
    """``tree`` with its branches where the checkpoint has them; unchanged when the names agree already.

    A branch moves as a whole: all of its tensors are in the checkpoint under exactly one other prefix.
    """
    ends: dict[str, list[str]] = defaultdict(list)
    for name in tensors:
        parts = name.split(".")
        for cut in range(len(parts)):
            ends[".".join(parts[cut:])].append(".".join(parts[:cut]))
    moves = list(_moves("", tree, tensors, ends))
    if all(old == new for old, new, _ in moves):
        return tree
    moved = Node(MODULE, tree.class_name, tree.file, remarks=list(tree.remarks), call=tree.call)
    for _, new, branch in sorted(moves, key=lambda move: move[1].count(".")):
        _place(moved, new, branch)
    return moved


def tensor_names(tree: Node) -> Iterable[str]:
    """The torch names of the tensors that the tree's modules hold."""
    for path, node in tree.walk():
        for name in held(node):
            yield f"{path}.{name}" if path else name


def held(node: Node) -> tuple[str, ...]:
    """The names of the arrays that a node itself holds."""
    arrays = _of_layer(node) if node.is_leaf or node.base else ()
    return (*arrays, *node.parameters)


# Layers whose arrays are not called weight and bias, by whether they have a bias.
_ARRAYS = {
    "LSTM": (("Wx", "Wh"), ("Wx", "Wh", "bias")),
    "GRU": (("Wx", "Wh"), ("Wx", "Wh", "b", "bhn")),
    "RNN": (("Wxh", "Whh"), ("Wxh", "Whh", "bias")),
}
_ATTENTION = ("query_proj", "key_proj", "value_proj", "out_proj")


def _of_layer(node: Node) -> tuple[str, ...]:
    given = node.arguments.get
    if node.layer in _ARRAYS:
        return _ARRAYS[node.layer][given("bias", "True") == "True"]
    if node.layer == "MultiHeadAttention":
        lasts = ("weight", "bias") if given("bias", "False") == "True" else ("weight",)
        return tuple(f"{part}.{last}" for part in _ATTENTION for last in lasts)
    if node.layer == "BatchNorm":
        running = ("running_mean", "running_var") if given("track_running_stats", "True") == "True" else ()
        return (*(("weight", "bias") if given("affine", "True") == "True" else ()), *running)
    if not node.arguments or "approx" in node.arguments or given("affine", "True") != "True":
        return ()
    single = node.layer in ("RMSNorm", "Embedding", "PReLU") or given("bias", "True") == "False"
    return ("weight",) if single else ("weight", "bias")


def _moves(path: str, node: Node, tensors: dict, ends: dict[str, list[str]]) -> Iterable[tuple[str, str, Node]]:
    rests = list(tensor_names(node))
    if not rests:
        return
    places = _places(path, rests, tensors, ends)
    if path in places or len(places) == 1:
        yield path, path if path in places else places[0], node
    elif node.children and not node.is_leaf:
        for name, child in node.children.items():
            yield from _moves(_joined(path, name), child, tensors, ends)
    else:
        yield path, path, node


def _places(path: str, rests: list[str], tensors: dict, ends: dict[str, list[str]]) -> list[str]:
    found = [
        place for place in ends.get(max(rests, key=len), ()) if all(_joined(place, rest) in tensors for rest in rests)
    ]
    # A branch of one or two tensors fits anywhere: only its own name can identify its place.
    last = path.rpartition(".")[2]
    return found if len(rests) > 2 or not path else [place for place in found if place.rpartition(".")[2] == last]


def _joined(prefix: str, rest: str) -> str:
    return f"{prefix}.{rest}" if prefix else rest


def _place(root: Node, path: str, branch: Node) -> None:
    if not path:
        root.children |= branch.children
        root.parameters |= branch.parameters
        return
    *parents, last = path.split(".")
    for name in parents:
        root = root.children.setdefault(name, Node(LIST if is_list_index(name) else MODULE, name.capitalize()))
    root.children[last] = branch
