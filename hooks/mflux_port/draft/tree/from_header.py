"""A module tree from a header alone. Whatever names and shapes do not show is a doubt with candidates, never a fact."""

from __future__ import annotations

from dataclasses import dataclass, field

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.tensor_names import is_list_index
from mflux_port.draft.tree.layer_kinds import Doubt, doubt_of_array, match
from mflux_port.draft.tree.nodes import DICT, LIST, MODULE, Node, class_name
from mflux_port.errors import PortError

_DEPTH, _LENGTH = 40, 10_000  # no real model comes near this; it stops a malicious name
# Modules whose arrays and parts are one layer, by what they hold.
_ARRAYS_OF_A_WHOLE = ("in_proj_weight", "q_proj_weight")
_PARTS_OF_A_WHOLE = ("parametrizations",)


@dataclass
class HeaderTree:
    """``unresolved``: tensors that have no place in the tree; ``moved``: tensors with another name in the layer.

    ``moved``: tensor -> (name in the tree, transform), several where the layer splits it.
    """

    root: Node = field(default_factory=lambda: Node(MODULE))
    unresolved: dict[str, Doubt] = field(default_factory=dict)
    moved: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)


def header_tree(tensors: dict[str, Tensor], config: dict) -> HeaderTree:
    """The tree of attribute names that a checkpoint's tensors have, with the layers that their shapes allow."""
    root = _nested(tensors)
    eps = sorted({value for name, value in config.items() if name.endswith("eps") and isinstance(value, float)})
    builder = _Builder(repr(eps[0]) if len(eps) == 1 else "")
    builder.found.root = builder.module("model", "", root, top=True)
    return builder.found


def _nested(tensors: dict[str, Tensor]) -> dict:
    root: dict = {}
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            place = place.setdefault(part, {}) if len(path) <= _DEPTH else None
            if not isinstance(place, dict):
                raise PortError(
                    f"tensor {name[:200]!r} does not fit into a tree of modules; is this a model's checkpoint?"
                )
        if isinstance(place.setdefault(last, tensor), dict):
            raise PortError(f"{name[:200]!r} is a tensor and has tensors below it; is this a model's checkpoint?")
    if any(map(is_list_index, root)):
        first = next(filter(is_list_index, root))
        raise PortError(f"tensor names begin with a number ({first}), which no attribute can have; rename them")
    return root


class _Builder:
    def __init__(self, eps: str):
        self.eps = eps
        self.found = HeaderTree()

    def module(self, name: str, path: str, entries: dict, top: bool = False) -> Node:
        """The node of a module; ``path`` ends with a dot, or is empty at the top."""
        arrays = {key: tensor for key, tensor in entries.items() if isinstance(tensor, Tensor)}
        branches = {key: inner for key, inner in entries.items() if not isinstance(inner, Tensor)}
        if not entries and not top:
            return Node("Identity", remarks=["a place without weights"])
        if not arrays and branches and all(map(is_list_index, branches)):
            return self._list(name, path, branches)
        if not top and (layer := self._layer(name, path, arrays, branches)):
            return layer
        return self._own_module(name, path, arrays, branches, top)

    def _list(self, name: str, path: str, branches: dict) -> Node:
        # Gaps without weights (activations, dropout) keep the other numbers right.
        last = max(map(int, branches))
        if last >= _LENGTH:
            raise PortError(f"{name} has a tensor of number {last}, more than {_LENGTH}; is this a model's checkpoint?")
        numbers = map(str, range(last + 1))
        return Node(LIST, children={i: self.module(name, f"{path}{i}.", branches.get(i, {})) for i in numbers})

    def _layer(self, name: str, path: str, arrays: dict, branches: dict) -> Node | None:
        """The node of a module that is one layer, even an unresolved one; None for any other module."""
        whole = any(key in arrays for key in _ARRAYS_OF_A_WHOLE) or any(key in branches for key in _PARTS_OF_A_WHOLE)
        if branches and not whole:
            return None
        held = arrays | (_flat(branches) if whole else {})
        layer = match(name, held, self.eps)
        if layer is None:
            return None
        if layer.node is not None:
            for array, places in layer.moved.items():
                self.found.moved[path + array] = tuple((path + place, transform) for place, transform in places)
            return layer.node
        self.found.unresolved |= dict.fromkeys((path + array for array in held), layer.unresolved)
        return Node("Identity", remarks=[f"unresolved: {layer.unresolved[0]}"])

    def _own_module(self, name: str, path: str, arrays: dict, branches: dict, top: bool) -> Node:
        shapes = {}
        for key, tensor in arrays.items():
            doubt = doubt_of_array(key, tensor)
            if doubt is None:
                shapes[key] = tuple(map(str, tensor.shape))
            else:
                self.found.unresolved[path + key] = doubt
        odd = bool(branches) and not arrays and not top and not all(key.isidentifier() for key in branches)
        node = Node(DICT if odd else MODULE, class_name(name), parameters=shapes)
        if "weight" in shapes and branches and not top:
            node.doubt = "a weight next to other modules; see the reference's module for its formula"
        for key, inner in branches.items():
            child = self.module(name if odd else key, f"{path}{key}.", inner)
            if child.kind == "Identity" and not odd:
                node.remarks += [f"{key}: {remark}" for remark in child.remarks]
            else:
                node.children[key] = child
        return node


def _flat(branches: dict, path: str = "") -> dict[str, Tensor]:
    found = {}
    for key, inner in branches.items():
        found |= {path + key: inner} if isinstance(inner, Tensor) else _flat(inner, f"{path}{key}.")
    return found
