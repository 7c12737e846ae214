"""A component's mapping, expanded and applied by mflux's own WeightMapper. No array is ever evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from mflux_port.checkpoint.headers import Tensor
from mflux_port.ledger.shape_only_arrays import shape_only_array

_TYPES = {
    "BOOL": "bool_", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "C64": "complex64", "F8_E4M3": "uint8", "F8_E8M0": "uint8",
}  # fmt: skip
_PLACEHOLDERS = re.compile(r"\{(?:block|layer|i|res)\}")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A tensor that goes to a parameter. ``shape``: the transform's result; ``target``: the mapping's line, from 0."""

    source: str
    path: str
    target: int
    transform: Callable | None
    before: tuple[int, ...]
    shape: tuple[int, ...]
    failure: str

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass
class Expansion:
    """``renamed``: checkpoint name to the name that the mapping sees. ``absent``, ``guesses``: names with reasons."""

    mapping: list | None
    arrays: dict
    renamed: dict[str, str]
    assignments: list[Assignment] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    guesses: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class AppliedModule:
    """The module after the update: every parameter's shape, and the mapped paths that
    ``Module.update`` did not reach.
    """

    shapes: dict[str, tuple[int, ...]]
    unset: set[str]
    refusal: str


def expand_component(component, tensors: dict[str, Tensor]) -> Expansion:
    """Every assignment of ``tensors`` that the component's mapping makes, after its filters and key transform."""
    expansion = _read(component, tensors)
    if component.mapping_getter is None:
        change = component.bulk_transform
        expansion.assignments = [
            _assignment(name, name, number, change, expansion.arrays) for number, name in enumerate(expansion.arrays)
        ]
        return expansion
    expansion.mapping = component.mapping_getter()
    blocks, layers = _counts(component, expansion.arrays)
    for number, target in enumerate(expansion.mapping):
        _expand_target(expansion, number, target, (blocks, layers))
        _note_guess(expansion, target, component)
    expansion.absent += _high_counts(component, expansion)
    return expansion


def apply_assignments(module, expansion: Expansion, component) -> AppliedModule:
    """Apply the mapping as mflux does and update the module with it, without evaluating anything."""
    from mlx.utils import tree_flatten, tree_unflatten

    before = dict(tree_flatten(module.parameters()))
    shapes = {path: tuple(array.shape) for path, array in before.items()}
    try:
        tree = _mapped(component, expansion, tree_unflatten)
        if component.weight_subkey is not None:
            tree = tree.get(component.weight_subkey, tree)
        module.update(tree, strict=False)
    except Exception as error:  # noqa: BLE001 - any error of a port's transform or of mflux is a finding
        return AppliedModule(shapes, set(), f"mflux cannot apply the mapping: {type(error).__name__}: {error}")
    after = tree_flatten(module.parameters())
    return AppliedModule(shapes, {path for path, array in after if array is before.get(path)}, "")


def _mapped(component, expansion: Expansion, tree_unflatten):
    from mflux.models.common.weights.mapping.weight_mapper import WeightMapper

    if expansion.mapping is None:
        change = component.bulk_transform or (lambda array: array)
        return tree_unflatten([(name, change(array)) for name, array in expansion.arrays.items()])
    # A failing transform is reported with its assignment; the other assignments still show what the mapper does.
    broken = {assignment.source for assignment in expansion.assignments if assignment.failure}
    arrays = {name: array for name, array in expansion.arrays.items() if name not in broken}
    return WeightMapper.apply_mapping(
        hf_weights=arrays,
        mapping=expansion.mapping,
        num_blocks=component.num_blocks,
        num_layers=component.num_layers,
    )


def _read(component, tensors: dict[str, Tensor]) -> Expansion:
    import mlx.core as mx

    expansion = Expansion(None, {}, {})
    filters = component.weight_prefix_filters
    for name, tensor in tensors.items():
        if filters is not None and not any(name.startswith(prefix) for prefix in filters):
            continue
        seen = component.key_transform(name) if component.key_transform else name
        if seen is None:
            continue
        array = shape_only_array(tensor.shape, getattr(mx, _TYPES.get(tensor.dtype, "float16")))
        expansion.arrays[seen] = component.weight_transform(seen, array) if component.weight_transform else array
        expansion.renamed[name] = seen
    return expansion


def _counts(component, arrays: dict) -> tuple[int, int]:
    from mflux.models.common.weights.mapping.weight_mapper import WeightMapper

    blocks, layers = component.num_blocks, component.num_layers
    return (
        WeightMapper._detect_num_blocks(arrays) if blocks is None else blocks,
        WeightMapper._detect_num_layers(arrays) if layers is None else layers,
    )


def _expand_target(expansion: Expansion, number: int, target, counts: tuple[int, int]) -> None:
    from mflux.models.common.weights.mapping.weight_mapper import WeightMapper

    flat = WeightMapper._build_flat_mapping([target], *counts)
    found: set[str] = set()
    for source, places in flat.items():
        if source not in expansion.arrays:
            continue
        for path, transform in places:
            found.add(path)
            expansion.assignments.append(_assignment(source, path, number, transform, expansion.arrays))
    if target.required:
        counted = _has_count(target)
        expansion.absent += _absent(target, flat, found, expansion.arrays, counted)


def _absent(target, flat: dict, found: set[str], arrays: dict, counted: bool) -> list[tuple[str, str]]:
    # A count in the mapping must match exactly; with a count that mflux guesses, one match is enough.
    expected: dict[str, str] = {}
    for source, places in flat.items():
        for path, _ in places:
            expected.setdefault(path, source)
    missing = [(source, path) for path, source in expected.items() if path not in found]
    if counted:
        return [(source, f"{path} is loaded from it") for source, path in missing]
    if not found:
        return [(target.from_pattern[0] if target.from_pattern else target.to_pattern, "no tensor has such a name")]
    return [(source, f"{path} is loaded from it") for source, path in missing if _has_place(source, target, arrays)]


def _has_count(target) -> bool:
    text = f"{target.to_pattern} {' '.join(target.from_pattern)}"
    if "{res}" in text or "{i}" in text:
        return False
    if "{block}" in text:
        return target.max_blocks is not None
    return "{layer}" not in text


def _high_counts(component, expansion: Expansion) -> list[tuple[str, str]]:
    # num_blocks and num_layers are shared by several lists; the longest must have that length.
    found = []
    for attribute, placeholder in (("num_blocks", "{block}"), ("num_layers", "{layer}")):
        count_given = getattr(component, attribute)
        targets = [target for target in expansion.mapping if placeholder in target.to_pattern and not target.max_blocks]
        patterns = [pattern for target in targets for pattern in target.from_pattern if placeholder in pattern]
        if count_given is None or not patterns:
            continue
        heads = "|".join({re.escape(pattern.partition(placeholder)[0]) for pattern in patterns})
        places = (re.match(rf"(?:{heads})(\d+)\.", name) for name in expansion.arrays)
        count = max((int(place[1]) + 1 for place in places if place), default=0)
        if count < count_given:
            found.append((attribute, f"it is {count_given}, the checkpoint has {count}"))
    return found


def _has_place(source: str, target, arrays: dict) -> bool:
    # Whether the checkpoint has other tensors of that block: if so, this one is missing.
    for pattern in target.from_pattern:
        *heads, _ = _PLACEHOLDERS.split(pattern)
        head = re.match(r"\d+".join([*map(re.escape, heads), r"\."]), source)
        if head and any(name.startswith(head[0]) for name in arrays):
            return True
    return False


def _note_guess(expansion: Expansion, target, component) -> None:
    text = f"{target.to_pattern} {' '.join(target.from_pattern)}"
    if "{res}" in text or "{i}" in text:
        expansion.guesses.append(
            (target.to_pattern, "mflux runs {i} to 2 and {res} to 3, regardless of the checkpoint")
        )
    elif "{block}" in text and target.max_blocks is None and component.num_blocks is None:
        expansion.guesses.append((target.to_pattern, "neither max_blocks nor num_blocks: mflux guesses the count"))
    elif "{layer}" in text and component.num_layers is None:
        expansion.guesses.append((target.to_pattern, "no num_layers: mflux counts model.layers, or assumes 28"))


def _assignment(source: str, path: str, number: int, transform: Callable | None, arrays: dict) -> Assignment:
    before, failure = tuple(arrays[source].shape), ""
    shape = before
    if transform is not None:
        try:
            shape = tuple(transform(arrays[source]).shape)
        except Exception as error:  # noqa: BLE001 - a port's transform may raise anything
            shape, failure = (), f"{type(error).__name__}: {error}"
    return Assignment(source, path, number, transform, before, shape, failure)
