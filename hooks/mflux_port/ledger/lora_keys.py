"""Parse the names in a LoRA file: the convention of each, the layer that it belongs to, and which matrix it is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

PREFIXES = ("base_model.model.transformer.", "base_model.model.", "diffusion_model.", "transformer.")
KOHYA_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_")
# The text encoders of diffusers, ComfyUI, original repos, PEFT and kohya.
_ENCODER = re.compile(
    r"(?:base_model\.model\.)?(?:text_encoders?(?:_\d)?|cond_stage_model|conditioner)\.|lora_(?:te\d?|t5xxl|clip_[lg]|llm)_"
)
# Adapters of PEFT and LyCORIS other than LoRA and LoKr, which mflux's loader does not apply.
_FAMILIES = (
    ("LoHa", r"\.hada_(?:w[12]_[ab]|t[12])"),
    ("OFT", r"\.(?:b?oft_(?:blocks|diag|R|s)(?:\.[^.]+)*?(?:\.weight)?|rescale)"),
    ("GLoRA", r"\.(?:[ab][12]|bm[12])\.weight"),
    ("IA3", r"\.(?:ia3_l(?:\.[^.]+)*?|on_input)"),
    ("VeRA", r"\.?vera_\w+(?:\.[^.]+)*?"),
    ("LoRA of an embedding", r"\.lora_embedding_[AB](?:\.[^.]+)*?"),
    ("LoRA of a convolution", r"\.lora_mid(?:\.weight)?"),
    ("LyCORIS norm", r"\.[wb]_norm"),
    ("whole layer", r"\.(?:set_(?:weight|bias)|modules_to_save(?:\.[^.]+)*?\.(?:weight|bias))"),
    ("textual inversion", r"(?<=bundle_emb)\..+|(?:^|\.)emb_params"),
    ("IP-Adapter", r"(?<=ip_adapter)\..+|(?<=image_proj)\..+"),
)
_OTHERS = [(family, re.compile(f"(?:{ending})$")) for family, ending in _FAMILIES]
_ENDINGS = re.compile(
    r"\.(?:"
    r"(?P<peft>lora_[AB])(?:\.(?P<adapter>[^.]+))?(?P<peft_weight>\.weight)"
    r"|(?P<bare>lora_[AB])"
    r"|(?P<kohya>lora_(?:up|down))(?P<kohya_weight>\.weight)?"
    r"|(?P<old>lora(?:_linear_layer)?\.(?:up|down))\.weight"
    r"|(?P<lokr>lokr_(?:w[12](?:_[ab])?|t2))"
    r"|(?P<dora>dora_scale|lora_magnitude_vector(?:\.[^.]+)*?(?:\.weight)?)"
    r"|(?P<alpha>alpha)|(?P<diff>diff_b|diff)"
    r")$"
)


@dataclass(frozen=True)
class LoraKey:
    """One key. ``path`` is the layer's, without ``prefix``; ``matrix`` is up, down, alpha, lokr, dora, diff or ''.

    ``family``: what mflux does not apply, such as LoHa.
    """

    name: str
    prefix: str
    path: str
    ending: str
    matrix: str
    convention: str
    family: str = ""

    @property
    def of_text_encoder(self) -> bool:
        """Whether the key belongs to a text encoder by its prefix."""
        return bool(_ENCODER.fullmatch(self.prefix))


def parse_key(name: str) -> LoraKey:
    """Parse a key. The convention of a key that follows none is 'unknown'."""
    match = _ENDINGS.search(name)
    others = ((family, found) for family, ending in _OTHERS if not match and (found := ending.search(name)))
    family, found = next(others, ("", match))
    if not found:
        return LoraKey(name, "", name, "", "", "unknown")
    whole, ending = name[: found.start()], name[found.start() :]
    underscored = "." not in whole
    prefix = _prefix(name, whole, underscored)
    path = whole[len(prefix) :]
    if family:
        return LoraKey(name, prefix, path, ending, "", family, family)
    return LoraKey(name, prefix, path, ending, _matrix(match), _convention(match, prefix, underscored))


def _prefix(name: str, whole: str, underscored: bool) -> str:
    encoder = _ENCODER.match(name)
    if encoder:
        return encoder[0]
    return next((one for one in (KOHYA_PREFIXES if underscored else PREFIXES) if whole.startswith(one)), "")


def _matrix(match: re.Match) -> str:
    kind = next(name for name in ("peft", "bare", "kohya", "old", "lokr", "dora", "alpha", "diff") if match[name])
    if kind in ("lokr", "dora", "alpha", "diff"):
        return kind
    return "down" if match[kind].endswith(("lora_A", "down")) else "up"


def _convention(match: re.Match, prefix: str, underscored: bool) -> str:
    if match["lokr"]:
        return "LoKr"
    if match["dora"]:
        return "DoRA"
    if match["alpha"] or match["diff"]:
        return ""  # every convention has these keys
    if underscored and prefix:
        return "kohya"
    if match["bare"]:
        return "bare"
    if match["adapter"]:
        return "PEFT .default" if match["adapter"] == "default" else f"PEFT .{match['adapter']}"
    if prefix == "diffusion_model.":
        return "diffusion_model."
    if prefix.startswith("base_model."):
        return "PEFT"
    named = prefix == "transformer." or _ENCODER.fullmatch(prefix)
    return "diffusers" if named or match["old"] else "no prefix"


def conventions(keys: list[LoraKey]) -> Counter:
    """The number of keys for each convention, without ``alpha`` and ``diff``."""
    return Counter(key.convention for key in keys if key.convention)
