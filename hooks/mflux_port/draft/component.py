"""The draft of one component of a port: its classes, its mapping, its LoRA paths, and what could not be decided."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mflux_port.checkpoint.component_sizes import component_sizes
from mflux_port.checkpoint.kinds.kind import Kind
from mflux_port.checkpoint.layout import Component
from mflux_port.draft.forward.draft import ForwardDraft, Say, draft_forwards
from mflux_port.draft.forward.proof.result import State, class_states
from mflux_port.draft.forward.proof.twin_port import attach
from mflux_port.draft.forward.writer.wrappers import hand_down
from mflux_port.draft.pipeline.settings import NONE, Settings
from mflux_port.draft.tied_weights import drop, move_to_readers
from mflux_port.draft.tree.from_header import header_tree
from mflux_port.draft.tree.from_reference import Wanted, has_reference, reference_tree
from mflux_port.draft.tree.nodes import Node
from mflux_port.draft.tree.prefix_remap import align, tensor_names
from mflux_port.draft.tree.towers import HEAD, TOWER, cut_towers, left_out_heads
from mflux_port.draft.write.class_source import module_files
from mflux_port.draft.write.formatting import formatted
from mflux_port.draft.write.forward_text import functions_file
from mflux_port.draft.write.group_into_classes import ClassDraft, draft_classes
from mflux_port.draft.write.mapping import LoraLayer, lora_layers
from mflux_port.draft.write.targets import MappingDraft, Source, Unresolved, draft_mapping, is_gamma
from mflux_port.draft.write.vae_wrapper import vae_wrapper
from mflux_port.port.port import Port
from mflux_port.port.text_encoders import part_of

# The class and the file of a component's own class, by the part of a port. The rest of a port imports them; for a VAE
# it imports the wrapper around that class.
_TOPS = {
    "transformer": ("Transformer", "transformer"),
    "text_encoder": ("TextEncoder", "text_encoder"),
    "vae": ("Autoencoder", "autoencoder"),
}


def top_of(name: str) -> tuple[str, str]:
    """The class, without the port's name, and the file of a component: text_encoder_2 has TextEncoder2 in
    text_encoder.py.
    """
    part = part_of(name)
    top, stem = _TOPS[part]
    return top + name.removeprefix(part).lstrip("_"), stem


def _prefix(name: str, top: str) -> str:
    return "VAE" if part_of(name) == "vae" else top


@dataclass
class ComponentDraft:
    """``files``: source by file stem; ``certain``: drafted from the reference itself, not just from the header.

    ``left_out``: paths that no prompt needs, each with the reason.
    """

    component: str
    certain: bool
    files: dict[str, str]
    classes: list[ClassDraft]
    mapping: MappingDraft
    lora: list[LoraLayer]
    forwards: ForwardDraft
    states: list[tuple[str, str, State]]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def unresolved(self) -> list[Unresolved]:
        return self.mapping.unresolved


def draft_component(
    component: Component,
    name: str,
    port: Port,
    say: Say = lambda line: None,
    with_forwards: bool = True,
    sees_images: bool = False,
    settings: Settings = NONE,
) -> ComponentDraft:
    """Draft ``component`` as the port's ``name``. The checkpoint's headers and the reference's own modules are read.

    ``say`` is called with the progress of the forward passes, which take seconds; without ``with_forwards`` only layers
    are drafted. ``sees_images``: the port gives an encoder images to edit, so that its tower for images is kept.
    """
    left = ForwardDraft({}, "left out")
    forwards = draft_forwards(component, name, say, port.training, settings) if with_forwards else left
    towers = part_of(name) == "text_encoder" and (sees_images or not forwards.forwards)
    tree, source = _tree(component, forwards.wanted, towers)
    tree.class_name = re.sub(r"\W", "", component.class_name) or tree.class_name
    attach(tree, forwards.forwards)
    hand_down(tree)
    left_out = _left_out(tree, source, towers) if part_of(name) == "text_encoder" else {}
    source = without(source, left_out)
    source.moved = source.moved | move_to_readers(tree, source.tensors)
    mapping = draft_mapping(name, source, tree)
    mapping.unresolved[:0] = [_unresolved(name, kind) for kind in component.classified.blocking]
    mapping.unresolved += _undecided_weights(name, tree, mapping.tied)
    classes, files = _classes_and_files(component, name, port, tree, forwards, towers)
    states = class_states(tree, forwards)
    mapping.unresolved += _unproven(name, states)
    lora = _lora(mapping, source, tree) if name == "transformer" else []
    return ComponentDraft(name, source.certain, files, classes, mapping, lora, forwards, states, left_out)


def _unproven(name: str, states: list[tuple[str, str, State]]) -> list[Unresolved]:
    found = ((path, cls, state) for path, cls, state in states if not state.is_proof)
    return [Unresolved(name, path, state.line, (f"port {cls}",)) for path, cls, state in found]


def _lora(mapping: MappingDraft, source: Source, tree: Node) -> list[LoraLayer]:
    linears = {path for path, node in tree.walk() if node.layer == "Linear"}
    names = {tensor.name: plain for plain, tensor in source.tensors.items()}
    return lora_layers(mapping.targets, linears, names)


def _undecided_weights(name: str, tree: Node, tied: list[str]) -> list[Unresolved]:
    """The weights that are left to the porter: those of other modules, and those of layers in doubt."""
    found = [
        Unresolved(
            name,
            path,
            "tied to another module's weight and read by a forward pass",
            ("pass it as an argument of the call",),
        )
        for path in drop(tree, tied)
    ]
    for path, node in tree.walk():
        _flatten_gammas(node)
        if node.doubt:
            found.append(Unresolved(name, path, node.doubt, node.candidates or (node.layer,)))
    return found


def _classes_and_files(
    component: Component, name: str, port: Port, tree: Node, forwards: ForwardDraft, towers: bool
) -> tuple[list[ClassDraft], dict[str, str]]:
    """The classes of a component, and the source of each file by its stem."""
    sizes = _sizes(component.config, towers)
    top, stem = top_of(name)
    prefix = port.class_name if name == "transformer" else f"{port.class_name}{_prefix(name, top)}"
    classes = draft_classes(tree, prefix, (f"{port.class_name}{top}", stem), set(sizes))
    shared = f"{prefix}Functions"
    files = module_files(classes, f"{port.package}.model.{port.model}_{name}", sizes, name, shared)
    if name == "vae":
        files["vae"] = vae_wrapper(port.class_name, f"{port.package}.model.{port.model}_vae", component.config)
    if forwards.forwards:
        functions = functions_file([draft.forward for draft in classes if draft.forward is not None], shared)
        files |= {"functions": functions} if functions else {}
    if forwards.forwards or name == "vae":  # the other files are written as a formatter leaves them
        files = formatted(files)
    return classes, files


def _sizes(config: dict, towers: bool) -> dict:
    """The sizes in a component's config that can be arguments of a constructor."""
    sizes = component_sizes(config, towers)
    return {name: size.value for name, size in sizes.items() if not keyword.iskeyword(name) and name != "self"}


def _tree(component: Component, wanted: Wanted, towers: bool) -> tuple[Node, Source]:
    """The tree of the reference's modules, or of the header's names, and the tensors that it is mapped from."""
    classified = component.classified
    tree = reference_tree(component, wanted, towers) if has_reference(component) else None
    if tree is not None:
        known = set(tensor_names(tree))
        tensors = classified.loadable(known)
        blocked = classified.blocked_modules(known)
        return align(tree, tensors), Source(tensors, component.config, certain=True, blocked=blocked)
    tensors = classified.loadable()
    found = header_tree(tensors, component.config)
    return found.root, Source(tensors, component.config, False, found.unresolved, found.moved)


def _left_out(tree: Node, source: Source, towers: bool) -> dict[str, str]:
    cut = {} if towers else dict.fromkeys(cut_towers(tree), TOWER)
    return cut | dict.fromkeys(left_out_heads(tree, source.tensors), HEAD)


def without(source: Source, paths: Iterable[str]) -> Source:
    """The source without the tensors below ``paths``."""
    inside = tuple(f"{path}." for path in paths)
    return replace(source, tensors={name: one for name, one in source.tensors.items() if not name.startswith(inside)})


def _unresolved(component: str, kind: Kind) -> Unresolved:
    why = f"{kind.what} ({kind.count})" if kind.names else kind.what
    return Unresolved(component, kind.id, why, (kind.fix,))


def _flatten_gammas(node: Node) -> None:
    for name, shape in node.parameters.items():
        if shape and is_gamma(name, tuple(1 if size == "1" else 2 for size in shape)):
            node.parameters[name] = shape[:1]
