"""Run inside an environment with mflux and diffusers: draft every component of every reference and compare with mflux.

``draft_agreement.py REFERENCES SCRATCH [header]`` prints {"<family>-<size> <component>": facts}. The drafted mapping
and mflux's own hand-written one are both expanded by mflux's WeightMapper; two transforms agree when they do the same
to an array of different numbers. The drafted modules are imported and loaded with ``strict=True``.
"""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import mflux.models
import mlx.core as mx
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft import component as drafting
from mflux_port.draft.write.mapping import weight_mapping
from mflux_port.ledger.balance import account
from mflux_port.ledger.expansion import expand_component
from mflux_port.port.port import port_from_answers

ANSWERS = {
    "hf_repo": "acme/Nova", "display_name": "Nova", "cli_name": "nova", "reference_pipeline": "NovaPipeline", "steps": 4,
    "guidance": 1.0, "supports_guidance": False, "checkpoints": [{"key": "nova", "hf_repo": "acme/Nova"}],
    "variants": ["txt2img"], "vae": "own", "text_encoder": "own", "scheduler": "own", "img2img": True,
    "negative_prompt": False, "lora": True, "training": False, "mflux_api": "0.24",
}  # fmt: skip
SKELETON = """from typing import List

from mflux.models.common.weights.mapping.weight_mapping import WeightMapping, WeightTarget


class {cls}WeightMapping(WeightMapping):
    @staticmethod
    def get_{component}_mapping() -> List[WeightTarget]:
        return []
"""
DEFINITIONS = {
    "z_image": ("z_image.weights.z_image_weight_definition", "ZImageWeightDefinition"),
    "flux2_klein": ("flux2.weights.flux2_weight_definition", "Flux2KleinWeightDefinition"),
    "qwen_image": ("qwen.weights.qwen_weight_definition", "QwenWeightDefinition"),
}


def own_component(family, name):
    module, cls = DEFINITIONS[family]
    definition = getattr(importlib.import_module(f"mflux.models.{module}"), cls)
    return next(component for component in definition.get_components() if component.name == name)


def sources(expansion):
    found = {}
    for assignment in expansion.assignments:
        found.setdefault(assignment.source, []).append(assignment)
    return found


def effect(assignments, shape):
    # The result of the transforms on a small array of different numbers, with axes of length 1 where the tensor has
    # them.
    small = [1 if size == 1 else 6 if place == 0 else 2 + place for place, size in enumerate(shape)]
    probe = mx.arange(max(1, mx.zeros(small).size)).reshape(small)
    results = [assignment.transform(probe) if assignment.transform else probe for assignment in assignments]
    return sorted((list(result.shape), result.flatten().tolist()) for result in results)


def compare(tensors, own, drafted, unresolved):
    facts = {"tensors": len(tensors), "agree": 0, "unresolved": [], "only drafted": [], "wrong": [], "missed": []}
    for name, tensor in tensors.items():
        ours, theirs = drafted.get(name, []), own.get(name, [])
        if name in unresolved:
            facts["unresolved"].append(name)
        elif bool(ours) != bool(theirs):
            facts["only drafted" if ours else "missed"].append(name)
        elif effect(ours, tensor.shape) == effect(theirs, tensor.shape):
            facts["agree"] += 1
        else:
            facts["wrong"].append(name)
    return facts


def write_draft(port, draft, component, scratch):
    folder = scratch / port.model
    for stem, text in draft.files.items():
        path = folder / f"model/{port.model}_{draft.component}/{stem}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    source = SKELETON.format(cls=port.class_name, component=draft.component)
    path = folder / f"weights/{port.model}_weight_mapping.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(weight_mapping(source, f"{port.class_name}WeightMapping", [draft.mapping], "mapping"))
    scope = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    getter = getattr(scope[f"{port.class_name}WeightMapping"], f"get_{draft.component}_mapping")
    top, stem = drafting.top_of(draft.component)
    package = f"mflux.models.{port.model}.model.{port.model}_{draft.component}"
    module = getattr(importlib.import_module(f"{package}.{stem}"), f"{port.class_name}{top}")
    return replace(component, mapping_getter=getter, num_blocks=None, num_layers=None, key_transform=None), module


def examine(checkpoint, family, size, name, scratch):
    model = f"{family}_{size}".replace("-", "_")
    port = port_from_answers({"model": model, "class_name": "Nova", **ANSWERS})
    part = checkpoint.components[name]
    draft = drafting.draft_component(part, name, port, with_forwards=False)
    component, module = write_draft(port, draft, own_component(family, name), scratch)
    expansion = expand_component(component, part.tensors)
    own = expand_component(own_component(family, name), part.tensors)
    unresolved = {entry.name for entry in draft.unresolved}
    left_out = {name for name in part.tensors if name.startswith(tuple(f"{path}." for path in draft.left_out))}
    waived = sorted({*part.classified.waived, *left_out})
    facts = compare(part.tensors, sources(own), sources(expansion), unresolved)
    facts["certain"], facts["waived"] = draft.certain, waived
    facts["open"] = [
        [f.kind, f.name]
        for f in account(component, module(), part.tensors).findings
        if f.fails and f.name not in left_out
    ]
    facts["loaded"] = loaded(module(), sources(expansion), unresolved)
    facts["names"] = sorted(
        assignment.path for assignment in expansion.assignments if assignment.path != assignment.source
    )
    facts["numbers"] = sorted({target.max_blocks for target in expansion.mapping if target.max_blocks})
    return facts


def loaded(module, assignments, unresolved):
    # strict=True raises for a parameter too many, too few or of another shape. Unresolved tensors are loaded unchanged.
    from mlx.utils import tree_flatten

    arrays = [(assignment.path, mx.zeros(assignment.shape)) for group in assignments.values() for assignment in group]
    names = {path for path, _ in arrays}
    shapes = {path: array.shape for path, array in tree_flatten(module.parameters())}
    arrays += [(name, mx.zeros(shapes[name])) for name in unresolved if name in shapes and name not in names]
    module.load_weights(arrays, strict=True)
    return len(arrays)


def main(references, scratch, header_only):
    mflux.models.__path__.append(str(scratch))
    if header_only:
        drafting.has_reference = lambda component: False
    said = {}
    for folder in sorted(references.iterdir()):
        family, _, size = folder.name.rpartition("-")
        checkpoint = open_checkpoint(str(folder))
        for name in checkpoint.components:
            said[f"{folder.name} {name}"] = examine(checkpoint, family, size, name, scratch)
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "header" in sys.argv[3:])
