"""Adapters in a checkpoint: LoRA matrices that were not merged into the weights, or a file of nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.kind import Kind

_PARTS = re.compile(
    r"(?:^|\.)(?:lora_(?:A|B|embedding_[AB]|magnitude_vector|up|down|mid)|base_layer|modules_to_save|original_module"
    r"|lora_linear_layer|lokr_\w+|hada_w\w+|oft_(?:R|blocks|diag)|boft_\w+|ia3_l|vera_\w+|prompt_embeddings_adapter)(?:\.|$)"
)
_ADAPTER_ONLY = re.compile(r"(?:^|\.)(?:lora_|lokr_|hada_|oft_|dora_scale|alpha$|diff(?:_b)?$)")


def adapters(tensors: Mapping[str, Tensor]) -> list[Kind]:
    """The one Kind of a file that holds adapters, or nothing."""
    names = [name for name in tensors if _PARTS.search(name)]
    if not names:
        return []
    if all(_PARTS.search(name) or _ADAPTER_ONLY.search(name) for name in tensors):
        fix = "account for it with `mflux-port ledger --lora`, and name the model's checkpoint here"
        return [Kind("LoRA file", "an adapter without its model", fix, tuple(tensors))]
    layers = {_PARTS.split(name, maxsplit=1)[0] for name in names}
    members = [name for name in tensors if any(name.startswith(f"{layer}.") for layer in _parents(name) & layers)]
    what = f"an adapter that is not merged, in {len(layers)} layers"
    fix = "merge it with PEFT's merge_and_unload and save the model again"
    return [Kind("unmerged adapter", what, fix, tuple(members))]


def _parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}
