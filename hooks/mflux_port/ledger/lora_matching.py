"""Match a LoRA's keys with a port's LoRA mapping, with mflux's own LoRALoader. No matrix is read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.keylist import collapse
from mflux_port.checkpoint.kinds.quantization import quantized
from mflux_port.ledger.lora_aliases import Alias, find_aliases
from mflux_port.ledger.lora_alpha import decomposed_strength, lost_strength
from mflux_port.ledger.lora_keys import LoraKey, conventions, parse_key

_MERGE = "merge it into the checkpoint, or train a LoRA or LoKr"
_CURES = dict.fromkeys(("textual inversion", "IP-Adapter"), "save the file without it")
_LOADED = ("F32", "F16", "BF16")


@dataclass
class LoraAccount:
    """The result for a file's keys. ``problems``: (layer or key, what is wrong)."""

    file: str
    convention: str
    conventions: dict[str, int]
    keys: int
    layers: int
    unmatched: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.keys) and not self.unmatched and not self.problems


def account_lora(file: str, tensors: dict[str, Tensor], targets: list, transformer) -> LoraAccount:
    """Match every key and judge every layer. ``targets``: the port's LoRATargets; ``transformer``: its MLX module."""
    keys = [parse_key(name) for name in tensors]
    counts = conventions(keys)
    named = " and ".join(counts) or "unknown"
    layers, unmatched, twice = _match(tensors, targets)
    account = LoraAccount(file, f"mixed: {named}" if len(counts) > 1 else named, dict(counts), len(keys), len(layers))
    account.unmatched = unmatched
    metadata = getattr(tensors, "metadata", {})
    left = set(unmatched)
    unsupported = _unsupported(keys, tensors, left)
    account.problems = [*_types(tensors), *twice, *_lines(unsupported), *_foreign(keys)]
    account.problems += lost_strength(file, layers, metadata) + decomposed_strength(file, layers)
    account.problems += [(path, why) for path, slots in layers.items() if (why := _judge(path, slots, transformer))]
    named = {key.name for members in unsupported.values() for key in members}
    missing = [key for key in keys if key.name in left - named and not key.of_text_encoder]
    account.aliases = find_aliases(missing, tensors, transformer)
    return account


def format_lora(account: LoraAccount) -> str:
    """The account as text."""
    matched = account.keys - len(account.unmatched)
    lines = [
        f"{account.file}: {account.convention}",
        f"  {matched} of {account.keys} keys match, {account.layers} layers",
    ]
    lines += [] if account.keys else ["  FAIL it holds no tensor"]
    lines += [f"  FAIL {name}: {why}" for name, why in account.problems]
    if account.unmatched:
        lines += ["  FAIL no target takes:", *(f"    {name}" for name in collapse(account.unmatched))]
    if account.aliases:
        lines.append("  aliases to add:")
        lines += [f"    {alias}" for alias in account.aliases]
    return "\n".join(lines)


def _match(tensors: dict[str, Tensor], targets: list) -> tuple[dict, list[str], list[tuple[str, str]]]:
    from mflux.models.common.lora.mapping.lora_loader import LoRALoader

    index = _index(LoRALoader._build_pattern_mappings(targets))
    layers: dict[str, dict] = defaultdict(dict)
    unmatched, twice = [], []
    for name, tensor in tensors.items():
        places = list(_places(name, index, LoRALoader._match_pattern))
        if not places:
            unmatched.append(name)
        for path, mapping in places:
            other = layers[path].get(mapping.matrix_name)
            if other is not None and other[0].name != name:
                twice.append((name, f"{other[0].name} also goes to {path}.{mapping.matrix_name}"))
            layers[path][mapping.matrix_name] = (tensor, mapping)
    return layers, unmatched, twice


def _index(mappings: list) -> dict[str, list]:
    # mflux tries every pattern on every key. Comparing them without numbers first leaves only a few that can fit.
    index = defaultdict(list)
    for mapping in mappings:
        index[re.sub(r"\d+", "#", mapping.source_pattern.replace("{block}", "#"))].append(mapping)
    return index


def _places(name: str, index: dict[str, list], match):
    text = re.sub(r"\d+", "#", name)
    for mapping in (*index.get(text, ()), *index.get(f"{text}.weight", ())):
        block = match(name, mapping.source_pattern)
        if block is not None:
            yield mapping.target_path.replace("{block}", str(block)), mapping


def _types(tensors: dict[str, Tensor]) -> list[tuple[str, str]]:
    # mx.load returns 8-bit floats and integers as integers, and the loader multiplies by them.
    kinds = quantized({name: tensor for name, tensor in tensors.items() if not name.endswith(".alpha")}, {})
    named = {name for kind in kinds for name in kind.names}
    found = [(kind.id, str(kind)) for kind in kinds if kind.blocks]
    others: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        whole_alpha = name.endswith(".alpha") and tensor.dtype in ("I64", "I32", "I16", "I8", "U8")
        if tensor.dtype not in _LOADED and not whole_alpha and name not in named:
            others.setdefault(tensor.dtype, []).append(name)
    why = "this type cannot be applied; convert the file to BF16 or F32 and save it again"
    return found + [(dtype, f"{_count(names)}: {why}") for dtype, names in others.items()]


def _unsupported(keys: list[LoraKey], tensors: dict[str, Tensor], unmatched: set[str]) -> dict[str, list[LoraKey]]:
    """The keys that mflux cannot apply with any LoRA mapping, by the reason."""
    with_matrices = {(key.prefix, key.path) for key in keys if key.matrix in ("up", "down")}
    found: dict[str, list[LoraKey]] = defaultdict(list)
    for key in keys:
        if key.matrix == "dora" and (key.prefix, key.path) in with_matrices:
            found["DoRA with LoRA matrices, which mflux does not support"].append(key)
        elif key.matrix == "diff" and len(tensors[key.name].shape) > 1 and key.name in unmatched:
            found["the difference of a whole matrix, and mflux adds only vectors"].append(key)
        elif key.family:
            found[f"{key.family}, which mflux does not apply; {_CURES.get(key.family, _MERGE)}"].append(key)
    return found


def _lines(unsupported: dict[str, list[LoraKey]]) -> list[tuple[str, str]]:
    return [(_count([key.name for key in keys]), why) for why, keys in unsupported.items()]


def _count(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} keys, such as {names[0]}"


def _foreign(keys: list[LoraKey]) -> list[tuple[str, str]]:
    counts = Counter(key.prefix for key in keys if key.of_text_encoder)
    why = "a text encoder's; mflux applies LoRAs only to the transformer"
    return [
        (f"{prefix}*", f"{count} {'key is' if count == 1 else 'keys are'} {why}") for prefix, count in counts.items()
    ]


def _judge(path: str, slots: dict, transformer) -> str:
    layer = find_layer(transformer, path)
    if layer is None:
        return "the transformer has no such layer"
    if (why := _judge_patches(slots, layer)) or {"diff", "diff_b"} >= slots.keys():
        return why
    if getattr(getattr(layer, "weight", None), "ndim", 0) != 2:
        return "this layer is not linear"
    if slots.keys() == {"alpha"}:
        return "only its alpha matches; no target takes its matrices"
    arrays = {}
    for name, (tensor, mapping) in slots.items():
        try:
            arrays[name] = _applied(tensor, mapping)
        except Exception as error:  # noqa: BLE001 - a port's transform may raise anything
            return f"the transform of {tensor.name} fails: {type(error).__name__}: {error}"
    if "alpha" in arrays and arrays["alpha"].size != 1:
        return f"its alpha has {arrays['alpha'].size} numbers instead of one"
    matrices = _judge_lokr if any(name.startswith("lokr") for name in slots) else _judge_matrices
    return matrices(arrays, tuple(layer.weight.shape))


def _judge_patches(slots: dict, layer) -> str:
    # mflux adds these to vectors only, and rejects the whole file if one does not fit.
    for name, attribute in (("diff", "weight"), ("diff_b", "bias")):
        base, patch = layer.get(attribute), slots[name][0].shape if name in slots else None
        if patch is not None and base is None:
            return f"{name} is for a {attribute}, which this layer does not have"
        if patch is not None and (base.ndim != 1 or tuple(base.shape) != patch):
            return f"{name} {patch} does not fit the {attribute}'s {tuple(base.shape)}; mflux adds only vectors"
    return ""


def _applied(tensor: Tensor, mapping):
    import mlx.core as mx

    array = mx.zeros(tensor.shape)
    return mapping.transform(array) if mapping.transform else array


def _judge_matrices(arrays: dict, weight: tuple[int, ...]) -> str:
    missing = [name for name in ("lora_A", "lora_B") if name not in arrays]
    if missing:
        return f"{missing[0]} is missing"
    down, up = tuple(arrays["lora_A"].shape), tuple(arrays["lora_B"].shape)
    if 0 in (*down, *up):
        return f"up {up} times down {down} has no numbers"
    if len(down) != 2 or len(up) != 2 or (up[0], down[1]) != weight or up[1] != down[0]:
        return f"up {up} times down {down} does not give the weight's {weight}"
    return ""


def _judge_lokr(arrays: dict, weight: tuple[int, ...]) -> str:
    from mflux.models.common.lora.mapping.lokr_factors import rebuild_lokr_factors

    both = [name for name in ("lora_A", "lora_B") if name in arrays]
    if both:
        return f"it has LoKr factors and {both[0]}; mflux takes only the factors"
    try:
        first, second, _ = rebuild_lokr_factors(arrays)
    except ValueError as error:
        return str(error).splitlines()[0]
    factors = tuple(first.shape), tuple(second.shape)
    if {len(factor) for factor in factors} != {2} or tuple(a * b for a, b in zip(*factors, strict=True)) != weight:
        return f"w1 {factors[0]} and w2 {factors[1]} do not make the weight's {weight}"
    scale = arrays.get("dora_scale")
    return (
        f"dora_scale has {scale.size} numbers for {weight[0]} rows"
        if scale is not None and scale.size != weight[0]
        else ""
    )


def find_layer(module, path: str):
    """The layer at a dotted path of lists, dicts and modules, or None."""
    for name in path.split("."):
        try:
            module = module[int(name)] if name.isdigit() and isinstance(module, list) else module[name]
        except (KeyError, IndexError, TypeError):
            module = getattr(module, name, None)
        if module is None:
            return None
    return module
