"""Where a drafted text encoder keeps its layers and its final norm, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mflux_port.files.parsing import imported_from, parse_python


@dataclass(frozen=True)
class LayerStack:
    """Paths of attributes from the encoder on: ``text_model.encoder.layers``, ``text_model.final_layer_norm``."""

    layers: str
    norm: str

    def shortened(self, place: int) -> list[str]:
        """Lines that make ``shortened``: the encoder whose last hidden state is ``hidden_states[place]``."""
        between = dict.fromkeys([*_parents(self.layers), *_parents(self.norm)])
        return [
            "shortened = copy.copy(text_encoder)",
            *(f"shortened.{path} = copy.copy(text_encoder.{path})" for path in between),
            f"shortened.{self.layers} = text_encoder.{self.layers}[: {place + 1}]",
            f"shortened.{self.norm} = nn.Identity()",
        ]


FLAT = LayerStack("layers", "norm")


def layer_stack(source: Callable[[str], str], module: str) -> LayerStack | None:
    """The stack of the encoder in ``module``; None unless there is one list of layers, with one norm around it.

    ``source``: the text of a drafted module, empty for one that is not drafted.
    """
    found = list(_attributes(source, module, ""))
    lists = [path for path, kind in found if kind == "list"]
    if len(lists) != 1:
        return None
    norms = [path for path, kind in found if "Norm" in kind and _is_around(path, lists[0])]
    return LayerStack(lists[0], norms[0]) if len(norms) == 1 else None


def _is_around(norm: str, layers: str) -> bool:
    """Whether a norm belongs to a module that contains the layers, at any depth."""
    return f"{layers}.".startswith(f"{norm.rpartition('.')[0]}.".lstrip("."))


def _attributes(source: Callable[[str], str], module: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Path and class of every module that the last class of ``module`` creates; ``list`` for a list of them."""
    tree = parse_python(source(module))
    imported = imported_from(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in ast.walk(classes[-1]) if classes else ():
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)):
            continue
        path = f"{prefix}{node.targets[0].attr}"
        if isinstance(node.value, (ast.ListComp, ast.List)):
            yield path, "list"
        elif isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func)
            yield path, name
            if name in imported and source(imported[name]):
                yield from _attributes(source, imported[name], f"{path}.")


def _parents(path: str) -> list[str]:
    parts = path.split(".")[:-1]
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
