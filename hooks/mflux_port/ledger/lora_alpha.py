"""Compare the scale that a LoRA file sets with the scale that this version of mflux applies.

A layer's update is scaled by alpha / rank. Alpha is kept as a tensor, in the header's metadata or in
adapter_config.json; a loader that does not read it there applies the update at alpha = rank.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mflux_port.checkpoint.headers import Tensor
from mflux_port.errors import PortError

_PLAIN_KEYS = ("network_alpha", "lora_alpha", "ss_network_alpha", "alpha")
_ENDING = re.compile(
    r"\.(?:lokr_\w+|lora_[AB](?:\.[^.]+)?(?:\.weight)?|lora_(?:down|up)(?:\.weight)?|lora\.(?:down|up)\.weight)$"
)


@dataclass(frozen=True)
class Alpha:
    """The alphas in one place. ``prefix``: the component whose layers they are for; ``patterns``: alpha by layer.

    ``rank`` is the config's, 0 if it has none; LoKr's own matrices do not show the rank.
    """

    where: str
    alpha: float
    prefix: str = ""
    patterns: dict[str, float] = field(default_factory=dict)
    root: bool = False
    rank: int = 0

    def scale(self, key: str, rank: int) -> float | None:
        """alpha / rank of the layer of ``key`` (alpha / sqrt(rank) with rsLoRA), None for a layer
        of another component.
        """
        layer = _ENDING.sub("", key)
        if self.prefix and not layer.startswith(f"{self.prefix}."):
            return None
        layer = layer.removeprefix(f"{self.prefix}.")
        found = (value for pattern, value in self.patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer))
        return next(found, self.alpha) / (math.sqrt(rank) if self.root else rank)


def alphas(metadata: dict[str, str], adapter_config: Path | None) -> list[Alpha]:
    """Every place that gives an alpha for the file, the most specific first. Raises PortError for a broken config."""
    found = []
    if adapter_config is not None:
        found += _configs(_read(adapter_config), adapter_config.name)
    for key, value in metadata.items():
        table = _table(value)
        found += _by_layer(table, key) if key == "network_alphas" else _configs(table, key)
    for key in _PLAIN_KEYS:
        number = _number(metadata.get(key))
        if number is not None:
            found.append(Alpha(key, number))
    return found


def lost_strength(file: str, layers: dict[str, dict], metadata: dict[str, str]) -> list[tuple[str, str]]:
    """Return (where alpha is kept, what is lost) for every place that this mflux does not read.

    ``layers``: path -> matrix name -> (Tensor, mapping), as the port's LoRA mapping matched them.
    """
    beside = Path(file).parent / "adapter_config.json"
    places = alphas(metadata, beside if beside.is_file() else None)
    lost: Counter = Counter()
    for slots in layers.values() if places else ():
        tensor = _strength_of(slots)
        if tensor is None:
            continue
        lokr = "lora_A" not in slots
        ranks = ((place, place.rank if lokr else tensor.shape[0] if tensor.shape else 0) for place in places)
        scales = ((place.where, rank, place.scale(tensor.name, rank)) for place, rank in ranks if rank)
        asked = next(((where, rank, scale) for where, rank, scale in scales if scale is not None), None)
        if asked is None:
            continue
        where, rank, scale = asked
        given = 1.0 if lokr else _applied_scale(tensor.name, metadata, rank)
        if not math.isclose(scale, given, rel_tol=1e-6):
            lost[(where, scale, given, lokr)] += 1
    return [_line(*place, count, len(lost)) for place, count in lost.items()]


def decomposed_strength(file: str, layers: dict[str, dict]) -> list[tuple[str, str]]:
    """Return (layer, what differs) for LoKr with DoRA whose alpha is not its rank. Reads no numbers except alphas.

    LyCORIS scales the update by alpha / rank and then decomposes the weight; mflux decomposes first.
    """
    found = []
    for path, slots in layers.items():
        factor = slots.get("lokr_w2_b") or slots.get("lokr_w1_b")
        if factor is None or not {"dora_scale", "alpha"} <= slots.keys() or not factor[0].shape:
            continue
        alpha, rank = _stored_number(file, slots["alpha"][0].name), factor[0].shape[0]
        if alpha != rank:
            why = f"DoRA of a LoKr whose alpha is {alpha:g} at rank {rank}: mflux scales the update after decomposing the "
            found.append((path, f"{why}weight, LyCORIS before; the two agree only at alpha = rank"))
    return found


def _stored_number(file: str, name: str) -> float:
    import mlx.core as mx

    return float(mx.load(file)[name].item())  # the other tensors are not read


def _strength_of(slots: dict) -> Tensor | None:
    """The matrix of a layer that has no separate alpha; None for a layer that has one, or that has no matrix."""
    if "alpha" in slots:
        return None
    return next(
        (slots[name][0] for name in ("lora_A", *sorted(slots)) if name in slots and name.startswith("lo")), None
    )


def _line(where: str, asked: float, given: float, lokr: bool, count: int, kinds: int) -> tuple[str, str]:
    layers = f"{count} {'layer' if count == 1 else 'layers'}"
    why = f"its alpha sets a scale of {asked:.6g} in {layers}; this mflux applies {given:.6g}, {given / asked:.6g} times that"
    fix = f"run with a LoRA scale of {asked / given:.6g}, or" if kinds == 1 else "to load it as trained,"
    # Without low-rank factors mflux does not know the rank by which to divide the alpha of a LoKr.
    way = f"multiply lokr_w1 by {asked / given:.6g}" if lokr else "store alpha as tensors in the file"
    return where, f"{why}; {fix} {way}"


def _applied_scale(key: str, metadata: dict[str, str], rank: int) -> float:
    # mflux reads PEFT's metadata since 0.24; its own code decides how.
    try:
        from mflux.models.common.lora.mapping.peft_lora_metadata import PeftLoRAMetadata
    except ImportError:
        return 1.0
    alpha = PeftLoRAMetadata.alpha(key, PeftLoRAMetadata.configs(metadata), rank)
    return 1.0 if alpha is None else float(alpha) / rank


def _configs(table: dict, where: str) -> list[Alpha]:
    # A pipeline's keys begin with the component: `transformer.lora_alpha`.
    found = []
    for key, value in table.items():
        prefix, _, name = key.rpartition(".")
        # PEFT calls it lora_alpha in a LoRA's config, and alpha in a LoKr's.
        number = _number(value) if name in ("lora_alpha", "alpha") else None
        if number is None:
            continue
        start = f"{prefix}." if prefix else ""
        rank = table.get(f"{start}r")
        patterns = table.get(f"{start}alpha_pattern")
        numbers = {one: _number(alpha) for one, alpha in patterns.items()} if isinstance(patterns, dict) else {}
        known = {one: alpha for one, alpha in numbers.items() if alpha is not None and _is_pattern(one)}
        found.append(
            Alpha(
                where,
                number,
                prefix,
                known,
                table.get(f"{start}use_rslora") is True,
                rank if type(rank) is int and rank > 0 else 0,
            )
        )
    return found


def _by_layer(table: dict, where: str) -> list[Alpha]:
    numbers = {str(key).removesuffix(".alpha"): _number(value) for key, value in table.items()}
    known = {re.escape(key): alpha for key, alpha in numbers.items() if alpha is not None}
    return [Alpha(where, next(iter(known.values())), "", known)] if known else []


def _table(text: str) -> dict:
    # The same metadata may hold megabytes of training notes; only keys that can have an alpha are parsed.
    if not text.startswith("{") or "alpha" not in text:
        return {}
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number > 0 else None


def _read(path: Path) -> dict:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise PortError(f"{path} is not JSON; download it again, or remove it") from None
    if not isinstance(table, dict):
        raise PortError(f"{path} is a JSON {type(table).__name__}, not an object; download it again, or remove it")
    return table
