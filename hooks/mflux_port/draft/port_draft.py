"""The draft of a port: its components, and the Python files that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from mflux_port.checkout.tree import Checkout
from mflux_port.checkpoint.layout import Checkpoint, Component
from mflux_port.draft.component import ComponentDraft, Say, draft_component
from mflux_port.draft.pipeline.settings import NONE, Settings
from mflux_port.draft.write.mapping import lora_mapping, weight_mapping
from mflux_port.draft.write.targets import Unresolved
from mflux_port.errors import PortError
from mflux_port.port.port import Port


@dataclass(frozen=True)
class PortDraft:
    """``texts``: the drafted Python files, by path."""

    components: list[ComponentDraft]
    texts: dict[str, str]

    @property
    def names(self) -> list[str]:
        return [draft.component for draft in self.components]

    @property
    def unresolved(self) -> list[Unresolved]:
        return [entry for draft in self.components for entry in draft.unresolved]

    @property
    def lora(self) -> dict[str, int | None]:
        return {layer.path: layer.count for draft in self.components for layer in draft.lora if layer.trained}


def draft_port(
    checkout: Checkout,
    port: Port,
    checkpoint: Checkpoint,
    names: list[str],
    say: Say,
    with_forwards: bool,
    settings: Settings = NONE,
) -> PortDraft:
    """Draft the components ``names`` (empty: those that the answers call own). Nothing is written.

    ``settings``: what the pipeline gives the transformer and reads of it.

    Raises PortError when a component cannot be drafted or the checkpoint lacks it.
    """
    parts = {name: _part(checkpoint, name, port) for name in dict.fromkeys(names or _own_components(port))}
    wanted = {name: settings if name == "transformer" else NONE for name in parts}
    # Only a processor can pass images to an encoder.
    sees_images = port.edits and any("processor" in name for name in checkpoint.model_index)
    drafts = [
        draft_component(part, name, port, say, with_forwards, sees_images, wanted[name]) for name, part in parts.items()
    ]
    return PortDraft(drafts, _texts(checkout, port, drafts))


def _own_components(port: Port) -> list[str]:
    return ["transformer", *(name for name, kind in port.kinds.items() if kind == "own")]


def _part(checkpoint: Checkpoint, name: str, port: Port) -> Component:
    known = ["transformer", *port.kinds]
    if name not in known:
        raise PortError(f"{name} is not a component of this port; type one of {', '.join(known)}")
    parts, folder = checkpoint.components, port.folder_of(name)
    if folder in checkpoint.missing:
        checkpoint.verify_complete()
    if part := parts.get(folder) or checkpoint.part(name):
        return part
    if len(parts) == 1 and not checkpoint.model_index:
        return next(iter(parts.values()))
    raise PortError(f"{checkpoint.where} has no {name}, it has {', '.join(parts)}; choose with --component")


def _texts(checkout: Checkout, port: Port, drafts: list[ComponentDraft]) -> dict[str, str]:
    texts = {}
    for draft in drafts:
        folder = f"{port.folder}/model/{port.model}_{draft.component}"
        texts |= {f"{folder}/{stem}.py": text for stem, text in draft.files.items()}
        texts.setdefault(f"{folder}/__init__.py", "")
    name = f"{port.folder}/weights/{port.model}_weight_mapping.py"
    mappings = [draft.mapping for draft in drafts]
    texts[name] = weight_mapping(source(checkout, name), f"{port.class_name}WeightMapping", mappings, name)
    lora = [layer for draft in drafts for layer in draft.lora]
    if lora and port.lora:
        name = f"{port.folder}/weights/{port.model}_lora_mapping.py"
        texts[name] = lora_mapping(source(checkout, name), f"{port.class_name}LoRAMapping", lora, name)
    return texts


def source(checkout: Checkout, name: str) -> str:
    """The current text of a rendered file. Raises PortError when it is missing."""
    data = checkout.read(name)
    if data is None:
        raise PortError(f"{checkout.root / name} is missing; run `copier copy` again, it renders what is missing")
    return data.decode("utf-8", "replace")
