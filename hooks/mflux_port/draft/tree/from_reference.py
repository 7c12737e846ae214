"""The reference's own module tree, built on torch's meta device: no weights, only shapes.

Needs torch and the reference.

Sizes become expressions of the config's names where the reference itself shows how: it is built again with one number
of its config doubled, quadrupled and, where it does not count blocks, much larger and smaller; a size that follows
as a product, a sum of products or a limit in all of them is written as that.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

from mflux_port.checkpoint.component_sizes import Size, component_sizes
from mflux_port.checkpoint.kinds.buffers import COMPUTED
from mflux_port.checkpoint.layout import Component
from mflux_port.draft.forward.record.groups import group_of
from mflux_port.draft.forward.record.init_arrays import arguments_kept
from mflux_port.draft.forward.record.recorder import object_group, own_objects
from mflux_port.draft.tree.leaf_layers import ACTIVATIONS, SILENT, call, settings, shape, source_file
from mflux_port.draft.tree.leaf_layers import leaf as leaf_node
from mflux_port.draft.tree.nodes import DICT, LIST, MODULE, Node
from mflux_port.draft.tree.scalars import scalars
from mflux_port.draft.tree.sizes import FAR, LESS, NEAR, SPARE, Observation, express, grows_evenly
from mflux_port.errors import PortError, short_repr

Wanted = dict[str, set[str]]  # by group, the names of values that its forward pass reads
# Settings that silence the libraries, before they are imported.
_SILENCE = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
_FEW_BLOCKS = 1000  # the number that are built at once
_HOLDERS = ("ModuleList", "ModuleDict", "Sequential")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside this context, or a function that it decorates, the libraries of a reference neither warn nor log.

    A reference is built dozens of times with changed sizes, for which their warnings mean nothing.
    """
    before = logging.root.manager.disable
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def has_reference(component: Component) -> bool:
    """Whether torch and the library of the component's class are installed, and its config tells the sizes."""
    names = ("torch", component.library)
    if not component.config:
        return False
    return component.library in ("diffusers", "transformers") and all(map(importlib.util.find_spec, names))


@quiet()
def reference_tree(component: Component, wanted: Wanted | None = None, towers: bool = False) -> Node | None:
    """The tree of the component's reference class; None when the installed library has no such class.

    ``wanted``: what drafted forward passes read of modules without weights and of modules' own values. ``towers``:
    sizes of a tower for images are expressed, too. Raises PortError for a config with more blocks than the checkpoint
    has tensors: building them would take all memory.
    """
    _verify_counts(component)
    base = _build(component, component.config)
    if base is None:
        return None
    sizes = component_sizes(component.config, towers)
    with_wanted = _Describer(wanted or {}, {name: size.value for name, size in sizes.items()})
    tree = with_wanted.tree(base)
    _mark_tied(tree, base)
    limited = re.search(r"\b(min|max)\(", _source_of(base))
    observations = []
    for name, place in _places(sizes).items():

        def varied(factors: Iterable, place=place) -> dict:
            whole = [factor for factor in factors if _keeps_heads(place, factor, sizes)]
            found = {factor: _varied(component, sizes, place, factor, with_wanted) for factor in whole}
            return {factor: other for factor, other in found.items() if other is not None}

        trees = varied(NEAR)
        if len(trees) < len(NEAR):
            trees |= varied(SPARE)
        elif grows_evenly(tree, trees):
            # A limit, as in min(width, 256), shows far above a small width and far below a large one.
            trees |= varied((FAR, *(LESS if limited else ())))
        observations.append(Observation(name, place.value, trees))
    return express(tree, observations)


def _keeps_heads(place: _Place, factor: int | Fraction, sizes: dict[str, Size]) -> bool:
    """Whether a multiple of a number is whole, and as divisible by a number of heads as the number itself."""
    value = place.value * factor
    others = [size.value for size in sizes.values() if "heads" in size.key and size.key != place.key]
    counts = [count for count in others if isinstance(count, int) and count > 0 and place.value % count == 0]
    return Fraction(value).denominator == 1 and all(value % count == 0 for count in counts)


def tree_of(module, wanted: Wanted) -> Node:
    """The tree of a module that is already built, with its sizes as they are."""
    return _Describer(wanted).tree(module)


def _mark_tied(tree: Node, module) -> None:
    holders: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    for first, path in ((paths[0], path) for paths in holders.values() if len(paths) > 1 for path in paths):
        node = tree.find(path)
        if node is not None:
            node.tied = first


class _Place(NamedTuple):
    """One number of a config: ``index`` is its place in a list, None for a plain number."""

    section: str
    key: str
    index: int | None
    value: int


def _places(sizes: dict[str, Size]) -> dict[str, _Place]:
    """Every positive number by its name: ``name``, or ``name[0]`` in a list."""
    found = {}
    for name, (section, key, value) in sizes.items():
        if isinstance(value, int):
            found[name] = _Place(section, key, None, value)
        else:
            found |= {f"{name}[{index}]": _Place(section, key, index, number) for index, number in enumerate(value)}
    return {name: place for name, place in found.items() if place.value > 0}


def _verify_counts(component: Component) -> None:
    sections = [component.config, *(part for part in component.config.values() if isinstance(part, dict))]
    for name, value in (pair for section in sections for pair in section.items()):
        count = isinstance(value, int | float) and re.search("(layers|blocks|depth|layers_per_block)$", name)
        if count and value > max(_FEW_BLOCKS, len(component.tensors)):
            raise PortError(
                f"{component.name}/config.json says {name} {short_repr(value)}, and the checkpoint has "
                f"{len(component.tensors)} tensors; download both again"
            )


def _source_of(module) -> str:
    try:
        return inspect.getsource(inspect.getmodule(type(module)))
    except (OSError, TypeError):
        return ""


def _varied(component: Component, sizes: dict[str, Size], place: _Place, factor, describer: _Describer) -> Node | None:
    module, config = _vary(component, place, factor)
    if module is None:
        return None
    parts = {name: config[size.section] if size.section else config for name, size in sizes.items()}
    return describer.with_sizes({name: parts[name][size.key] for name, size in sizes.items()}).tree(module)


def _vary(component: Component, place: _Place, factor: int | Fraction) -> tuple:
    # Rotary embeddings need matching head sizes: such a config is tried again with the axes scaled too, up or down.
    section, key, index, value = place
    for longer, axes in product((True, False), (1.0, factor, 1 / factor)):
        config = dict(component.config)
        inner = dict(config[section]) if section else config
        for other, sizes in list(inner.items()):
            if axes != 1.0 and other.startswith("axes_dim") and isinstance(sizes, list):
                inner[other] = [int(size * axes) for size in sizes]
        for other, entries in list(inner.items()):
            # A list with a kind for each layer: another number may equal the number of layers by chance.
            if (
                longer
                and factor > 1
                and isinstance(entries, list)
                and len(entries) == value
                and all(isinstance(kind, str) for kind in entries)
            ):
                inner[other] = entries * factor
        if index is not None:
            inner[key] = [*inner[key]]
            inner[key][index] = int(value * factor)
        else:
            inner[key] = int(value * factor)
        if section:
            config[section] = inner
        module = _build(component, config)
        if module is not None:
            return module, config
    return None, {}


def _build(component: Component, config: dict):
    return build(component, config, "meta")


def build(component: Component, config: dict, device: str):
    """The reference's class with a config, on a device of torch; None if it refuses the config.

    Every module keeps the plain arguments that it was built with.
    """
    import torch  # noqa: F401 - what is imported while arguments are kept takes several times as long

    getattr(__import__(component.library), component.class_name, None)
    with arguments_kept():
        return build_plainly(component, config, device)


def build_plainly(component: Component, config: dict, device: str):
    """The same as ``build``, without recording arguments."""
    import torch

    library = __import__(component.library)
    reference = getattr(library, component.class_name, None)
    if reference is None:
        return None
    try:
        with torch.device(device):
            if component.library == "diffusers":
                return reference.from_config({name: value for name, value in config.items() if name != "_class_name"})
            return without_head(reference(reference.config_class.from_dict(config)))
    except Exception:  # noqa: BLE001 - a config that the reference refuses simply shows nothing
        return None


def without_head(module):
    """A text encoder with an identity instead of its output head: pipelines read hidden states, not logits."""
    from torch import nn

    path = output_head(module)
    if path:
        module.set_submodule(path, nn.Identity())
    return module


def output_head(module) -> str:
    """The path of the layer that turns hidden states into logits; empty for a model without one."""
    head = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    return next((path for path, one in module.named_modules() if one is head), "") if head is not None else ""


class _Describer:
    """Describes modules.

    ``wanted``: by group, the values that its forward pass reads; ``sizes``: those of its config.
    """

    def __init__(self, wanted: Wanted, sizes: dict[str, object] = MappingProxyType({})):
        self.wanted, self.sizes = wanted, sizes if wanted else {}

    def with_sizes(self, sizes: dict[str, object]) -> _Describer:
        """Do the same for a module that was built with other sizes."""
        return _Describer(self.wanted, sizes)

    def tree(self, module) -> Node:
        from torch import nn

        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            return Node(LIST, children=self._children(module, keep_places=True))
        if isinstance(module, nn.ModuleDict):
            return Node(DICT, children=self._children(module))
        node = leaf_node(module)
        if node is not None and node.kind == MODULE:
            self.note(node, module)
        return node or self._module(module)

    def _module(self, module) -> Node:
        node = Node(MODULE, type(module).__name__, source_file(type(module)), call=call(module))
        node.children = self._children(module)
        node.parameters = {name: shape(value) for name, value in module.named_parameters(recurse=False)}
        state = module.state_dict(keep_vars=True)
        for name, value in module.named_buffers(recurse=False):
            computed = name in COMPUTED and (not value.is_floating_point() or value.numel() == 1)
            if name in state and not computed:
                node.parameters[name] = shape(value)
        if node.parameters and not node.children:
            node.settings = settings(module)
        self.note(node, module)
        for name, child in _below(module):
            if name not in node.children and type(child).__name__ not in (*SILENT, *_HOLDERS):
                node.remarks.append(f"{name}: {_without_weights(child)}")
        return node

    def note(self, node: Node, module) -> None:
        """What a drafted forward pass reads from a module besides its arrays: its values, its objects."""
        if not self.wanted:
            return
        node.group = group_of(module)
        reads = self.wanted.get(node.group, set())
        node.scalars = scalars(module, reads - node.children.keys() - node.parameters.keys(), self.sizes)
        for name, value in own_objects(module).items():
            if name in reads:
                node.children[name] = self._object(value)
        if node.group in self.wanted:
            left = {name for name, child in node.children.items() if _is_weightless(child) and name not in reads}
            node.children = {name: child for name, child in node.children.items() if name not in left}

    def _object(self, value) -> Node:
        node = Node(MODULE, type(value).__name__, source_file(type(value)), is_object=True, group=object_group(value))
        node.scalars = scalars(value, self.wanted.get(node.group, set()), self.sizes)
        return node

    def _children(self, module, keep_places: bool = False) -> dict[str, Node]:
        children = {}
        for name, child in _below(module):
            node = self.tree(child)
            known = node.kind == MODULE and node.group in self.wanted
            if node.is_leaf or node.children or node.parameters or node.base or known:
                if keep_places or node.kind not in ("Identity", *ACTIVATIONS):
                    children[name] = node
            elif keep_places:
                children[name] = Node("Identity", remarks=[_without_weights(child)])
        if keep_places and all(node.kind in ("Identity", *ACTIVATIONS) for node in children.values()):
            return {}
        return children


def _is_weightless(node: Node) -> bool:
    return node.kind == MODULE and not any(one.is_leaf or one.parameters or one.base for _, one in node.walk())


def _below(module) -> list[tuple[str, object]]:
    # torch's named_children omits the second place of a module that is registered twice.
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _without_weights(module) -> str:
    return f"{type(module).__name__} holds no weights ({source_file(type(module))})"
