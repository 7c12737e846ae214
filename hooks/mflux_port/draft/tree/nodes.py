"""The tree of modules that a port needs, in MLX terms. Built from a reference module or from a header alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Kinds with their own class in the reference; every other kind is the name of a class of mlx.nn.
MODULE, LIST, DICT = "module", "list", "dict"


def class_name(name: str) -> str:
    """A class name for the module of an attribute: ``transformer_blocks`` gives ``TransformerBlock``."""
    words = re.split("[^A-Za-z0-9]+", re.sub(r"s$", "", name))
    return "".join(word[:1].upper() + word[1:] for word in words if word) or "Part"


@dataclass(slots=True)
class Node:
    """One module.

    ``arguments`` are the keywords of the mlx.nn class and ``parameters`` the shapes of arrays held by the module
    itself, both as Python source, so that a size may be an expression of the config's names. ``remarks`` name children
    without weights. ``doubt`` states what is uncertain, with ``candidates``. ``call``: the parameters of the
    reference's ``forward``. ``tied``: a name for the weight that several modules of the reference hold, '' for any
    other. ``base``: the layer of mlx.nn that holds a module's arrays and has another formula; ``arguments`` are then
    its keywords. ``settings``: numbers that the reference's module holds besides its arrays. ``group``: the modules
    that it shares a forward pass with; ``forward``: that pass, once it is drafted, and ``scalars``: what that reads of
    the module's own values, as source. ``is_object``: a plain object without arrays, not a module.
    """

    kind: str
    class_name: str = ""
    file: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    doubt: str = ""
    candidates: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    tied: str = ""
    base: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    group: str = ""
    scalars: dict[str, str] = field(default_factory=dict)
    forward: object = None
    is_object: bool = False

    @property
    def is_leaf(self) -> bool:
        return self.kind not in (MODULE, LIST, DICT)

    @property
    def layer(self) -> str:
        """The class of mlx.nn that holds the node's arrays; for the reference's own class, its kind."""
        return self.base or self.kind

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Every node below and including this one, with its dotted path."""
        yield path, self
        for name, child in self.children.items():
            yield from child.walk(f"{path}.{name}" if path else name)

    def find(self, path: str) -> Node | None:
        """The node at a dotted path, or None."""
        node: Node | None = self
        for name in path.split(".") if path else ():
            node = node.children.get(name) if node else None
        return node
