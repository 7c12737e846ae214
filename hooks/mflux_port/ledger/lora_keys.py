"""The names in a LoRA file: which convention each is in, which layer it belongs to, which matrix it is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_ENCODERS = ("text_encoder.", "text_encoder_2.", "text_encoder_3.", "text_encoders.")
PREFIXES = (
    "base_model.model.transformer.", "base_model.model.", "diffusion_model.", "transformer.", *_ENCODERS,
)  # fmt: skip
KOHYA_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_")
_ENDINGS = re.compile(
    r"\.(?:"
    r"(?P<peft>lora_[AB])(?:\.(?P<adapter>[^.]+))?(?P<peft_weight>\.weight)"
    r"|(?P<bare>lora_[AB])"
    r"|(?P<kohya>lora_(?:up|down|mid))(?P<kohya_weight>\.weight)?"
    r"|(?P<old>lora(?:_linear_layer)?\.(?:up|down))\.weight"
    r"|(?P<lokr>lokr_(?:w[12](?:_[ab])?|t2))"
    r"|(?P<dora>dora_scale|lora_magnitude_vector(?:\.[^.]+)*?(?:\.weight)?)"
    r"|(?P<alpha>alpha)|(?P<diff>diff_b|diff)"
    r")$"
)


@dataclass(frozen=True)
class LoraKey:
    """One key. ``path`` is the layer's, without ``prefix``; ``matrix`` is up, down, alpha, lokr, dora, diff or ''."""

    name: str
    prefix: str
    path: str
    ending: str
    matrix: str
    convention: str

    @property
    def of_text_encoder(self) -> bool:
        """Whether the key belongs to a text encoder by its prefix."""
        return self.prefix in _ENCODERS or self.prefix.startswith("lora_te")


def parse_key(name: str) -> LoraKey:
    """Parse a key. The convention of a key that follows none is 'unknown'."""
    match = _ENDINGS.search(name)
    if not match:
        return LoraKey(name, "", name, "", "", "unknown")
    whole, ending = name[: match.start()], name[match.start() :]
    underscored = "." not in whole
    prefix = next((one for one in (KOHYA_PREFIXES if underscored else PREFIXES) if whole.startswith(one)), "")
    path = whole[len(prefix) :]
    return LoraKey(name, prefix, path, ending, _matrix(match), _convention(match, prefix, underscored))


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
        return ""  # every convention has them
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
    return "diffusers" if prefix in ("transformer.", *_ENCODERS) or match["old"] else "no prefix"


def conventions(keys: list[LoraKey]) -> Counter:
    """How many keys follow which convention; ``alpha`` and ``diff`` are not counted."""
    return Counter(key.convention for key in keys if key.convention)
