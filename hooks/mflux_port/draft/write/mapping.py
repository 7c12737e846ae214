"""Writes drafted targets into a port's weight mapping and LoRA mapping, method by method; the rest
of the file stays.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from mflux_port.draft.write.source_text import Call, Items, text, write
from mflux_port.draft.write.targets import OWN_TRANSFORMS, MappingDraft, Target
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_python

_BLOCK = re.compile(r"\{block\}\.|(?<=\.)\d+\.")  # a number is left where only one block has such a layer
# Whole words of a name, as in `norm1`, `layer_norm`, `adaLN_modulation`, `img_mod` and `time_embedder`; not in
# `modality`.
_SHARED = re.compile(r"(?i)(?:^|_)(?:layer|rms)?(?:norms?|ada\w*|modulation|mod|time\w*|emb\w*)\d*(?:_|$)")
_TRANSFORMS = "from mflux.models.common.weights.mapping.weight_transforms import WeightTransforms"


def weight_mapping(source: str, class_name: str, drafts: list[MappingDraft], where: str) -> str:
    """``source`` with the mapping of every draft's component.

    Raises PortError when the class or a method is not there.
    """
    for draft in drafts:
        listed = Items(tuple(_target(target, class_name) for target in draft.targets))
        source = _replace_method(source, class_name, f"get_{draft.component}_mapping", _returned(listed), where)
    used = {target.transform for draft in drafts for target in draft.targets} & OWN_TRANSFORMS.keys()
    for name in sorted(used):
        if f"def {name}(" not in source:
            source += f"\n    @staticmethod\n    def {name}(tensor: mx.array) -> mx.array:\n        return {OWN_TRANSFORMS[name]}\n"
    source = _without_idle(source, class_name)
    if "WeightTransforms." in source and _TRANSFORMS not in source:
        source = re.sub(r"(from mflux\S+weight_mapping import [^\n]*\n)", rf"\g<1>{_TRANSFORMS}\n", source, count=1)
    if "mx." in source and "import mlx.core as mx" not in source:
        source = re.sub(r"(?m)^from mflux", "import mlx.core as mx\n\nfrom mflux", source, count=1)
    return source


def lora_mapping(source: str, class_name: str, layers: list[LoraLayer], where: str) -> str:
    """``source`` with one target per layer in ``get_mapping``."""
    if "def _target(" not in source:
        raise PortError(f"{where} has no _target; keep the method that was rendered, the drafted list calls it")
    calls = []
    for layer in layers:
        names = [layer.path] if layer.path == layer.reference else [layer.path, layer.reference]
        calls.append(Call(f"{class_name}._target", tuple(("", text(name)) for name in names)))
    if any(layer.path != layer.reference for layer in layers) and "def _target(model_path: str, " not in source:
        raise PortError(f"{where}: _target takes one name; run `mflux-port update`, a layer's files may have another")
    return _replace_method(source, class_name, "get_mapping", _returned(Items(tuple(calls))), where)


@dataclass(frozen=True)
class LoraLayer:
    """A linear layer that a LoRA may change: its path in the port and in the reference, whose files have that name.

    ``count``: blocks that have it, None without ``{block}``. ``trained``: whether the training example lists it.
    """

    path: str
    reference: str
    count: int | None
    trained: bool


def lora_layers(targets: list[Target], linears: set[str], names: dict[str, str]) -> list[LoraLayer]:
    """The linear layers among ``targets``, in their order. ``linears``: paths of linear layers.

    ``names``: the reference's name of each tensor, by the name in the checkpoint, which may have wrappers.

    A LoRA file may change any of them. Those of repeated blocks are trained, without norms, modulation and embeddings.
    """
    chosen = []
    for target in targets:
        path, _, last = target.to_pattern.rpartition(".")
        reference, _, stored = _without_wrappers(target.from_pattern, names).rpartition(".")
        if not last == stored == "weight" or target.transform:
            continue
        numbers = [n for n in range(target.count or 1) if path.replace("{block}", str(n)) in linears]
        if len(numbers) == (target.count or 1):
            chosen.append(LoraLayer(path, reference, target.count, _is_trained(path)))
            continue
        for number in numbers:  # a list in which not all modules are linear, such as a norm and a projection
            own, other = (name.replace("{block}", str(number)) for name in (path, reference))
            chosen.append(LoraLayer(own, other, None, False))
    return chosen


def _without_wrappers(pattern: str, names: dict[str, str]) -> str:
    # The parts of the first block's name that are also in the reference's name.
    stored = pattern.replace("{block}", "0")
    wanted = names.get(stored, stored).split(".")
    kept = []
    for part, concrete in zip(pattern.split("."), stored.split("."), strict=True):
        if wanted and concrete == wanted[0]:
            kept.append(part)
            wanted.pop(0)
    return ".".join(kept)


def _is_trained(path: str) -> bool:
    repeated = _BLOCK.search(path)
    return bool(repeated) and not any(_SHARED.search(part) for part in path[repeated.end() :].split("."))


def _target(target: Target, class_name: str) -> Call:
    arguments = [("to_pattern", text(target.to_pattern)), ("from_pattern", f"[{text(target.from_pattern)}]")]
    if target.transform:
        owner = class_name if target.transform in OWN_TRANSFORMS else "WeightTransforms"
        arguments.append(("transform", f"{owner}.{target.transform}"))
    if target.count is not None:
        arguments += [("required", "False")] if target.partial else []
        arguments.append(("max_blocks", str(target.count)))
    return Call("WeightTarget", tuple(arguments))


def _returned(listed: Items) -> str:
    parts = "".join(f"            {write(item, 12, 0, 1)},\n" for item in listed.items)
    return f"        return [\n{parts}        ]\n"


def _class(source: str, name: str, where: str) -> ast.ClassDef:
    try:
        tree = parse_python(source)
    except SyntaxError as error:
        raise PortError(f"{where} line {error.lineno} is not Python; fix it and run this again") from None
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        raise PortError(f"{where} has no class {name}; keep the name that was rendered")
    return found


def _replace_method(source: str, class_name: str, method: str, body: str, where: str) -> str:
    functions = (node for node in _class(source, class_name, where).body if isinstance(node, ast.FunctionDef))
    found = next((node for node in functions if node.name == method), None)
    if found is None:
        raise PortError(f"{where} has no method {method}; keep the names that were rendered")
    lines = source.splitlines(keepends=True)
    head = found.returns.end_lineno if found.returns else found.lineno
    return "".join([*lines[:head], body, *lines[found.end_lineno :]])


def _without_idle(source: str, class_name: str) -> str:
    # Private names of the class, and imports, that are no longer used.
    while True:
        lines = source.splitlines(keepends=True)
        span = next(iter(_idle_spans(source, class_name)), None)
        if span is None:
            return re.sub(r"\n{3,}(?=    )", "\n\n", source).rstrip() + "\n"
        source = "".join([*lines[: span[0]], *lines[span[1] :]])


def _idle_spans(source: str, class_name: str):
    tree = parse_python(source)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
            if not any(len(re.findall(rf"\b{name}\b", source)) > 1 for name in names):
                yield node.lineno - 1, node.end_lineno
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    for node in body:
        name = node.name if isinstance(node, ast.FunctionDef) else ""
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        if name.startswith("_") and len(re.findall(rf"\b{name}\b", source)) == 1:
            first = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", ()))])
            yield first - 1, node.end_lineno
