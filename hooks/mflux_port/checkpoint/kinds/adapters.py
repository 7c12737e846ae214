"""Adapters in a checkpoint: LoRA matrices that were not merged into the weights, or a file of adapters alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.kind import Kind

# Names that only an adapter has, wherever it is stored.
_PARTS = re.compile(
    r"(?:^|\.)(?:lora_(?:A|B|embedding_[AB]|magnitude_vector|up|down|mid)|base_layer|modules_to_save|original_module"
    r"|lora_linear_layer|\w+_lora\.(?:down|up)|lokr_\w+|hada_\w+|oft_(?:R|blocks|diag)|boft_\w+|ia3_l|vera_\w+"
    r"|prompt_embeddings_adapter|bundle_emb)(?:\.|$)"
    r"|^(?:lora_(?:unet|transformer|te\d?|t5xxl|prior)|lycoris)_"
)
# Names that mean an adapter only if nothing else is in the file.
_ADAPTER_ONLY = re.compile(
    r"(?:^|\.)(?:lora_\w+|lokr_\w+|hada_\w+|oft_\w+|dora_scale|alpha|rescale|diff(?:_b)?|set_(?:weight|bias)|[wb]_norm"
    r"|on_input|(?:[ab][12]|bm[12])\.weight)(?:\.|$)"
)
_WORD = re.compile(r"(?:emb_params|clip_[lg]|t5xxl|string_to_param(?:\.\*)?|\*)$")
_IMAGE_PROMPT = re.compile(r"(?:image_proj|ip_adapter)\.")
# Kinds of whole files: every name in the file must fit.
_FILES = (
    ("LoRA file", lambda name: bool(_PARTS.search(name) or _ADAPTER_ONLY.search(name)), "an adapter without its model",
     "account for it with `mflux-port ledger --lora`, and name the model's checkpoint here"),
    ("text embedding", _WORD.match, "an embedding of textual inversion without its model",
     "mflux loads none; name the model's checkpoint here"),
    ("IP-Adapter", _IMAGE_PROMPT.match, "an adapter for image prompts without its model",
     "mflux loads none; name the model's checkpoint here"),
)  # fmt: skip


def adapters(tensors: Mapping[str, Tensor]) -> list[Kind]:
    """A list of one Kind if the file holds adapters, otherwise an empty list."""
    for kind, fits, what, fix in _FILES if tensors else ():
        if all(map(fits, tensors)):
            return [Kind(kind, what, fix, tuple(tensors))]
    names = {name for name in tensors if _PARTS.search(name)}
    if not names:
        return []
    layers = {_PARTS.split(name, maxsplit=1)[0] for name in names}
    members = [name for name in tensors if name in names or _parents(name) & layers]
    what = f"an adapter that is not merged, in {len(layers)} layers"
    fix = "merge it with PEFT's merge_and_unload and save the model again"
    return [Kind("unmerged adapter", what, fix, tuple(members))]


def _parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}
