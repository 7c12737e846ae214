"""The tiny twin's config: the real one with small sizes, by the rules that
``make_tiny_checkpoint.py`` has in a port.
"""

from __future__ import annotations

import importlib.util
from functools import cache

from mflux_port.port.text_encoders import part_of
from mflux_port.template.project import project_root

_SHRINK = "template/porting/{{ model }}/parity/record/shrink.py"
_WINDOWS = ("sliding_window", "local_attention")  # how far attention reaches
_WINDOW = 4  # shorter than the recorded prompts
_VAE_WIDTHS = ("channels", "base_channels", "base_dim", "decoder_base_dim")
_UNIT = 32  # the fewest channels: norms have up to 32 groups
SAMPLE = 16  # the size of the latents that a twin has a table of positions for


def small_config(name: str, config: dict) -> dict:
    """A component's config at small sizes. ``name``: the port's name for it."""
    shrink = shrink_rules()
    if name == "vae":
        return _small_vae(shrink.shrink_vae(config), config)
    small = shrink.shrink_network(config, shrink.Sizes(), part_of(name) == "text_encoder")
    head = _heads_of_axes(small, shrink)
    for key, value in config.items():
        width = isinstance(value, int) and not isinstance(value, bool) and value > shrink.LARGE
        if width and small.get(key) == value and not any(word in key for word in shrink.KEPT):
            small[key] = 3 * head if key.startswith("model_dim") and head else 56 + 8 * (len(key) % 3)
        if key in ("quantization_config",):
            small.pop(key)
    _limit(small)
    return small


def _heads_of_axes(small: dict, shrink) -> int:
    """Shrink the axes of a config that gives no heads: their sum is the size of one. 0 for any other config."""
    axes = next((key for key in shrink.AXES if isinstance(small.get(key), list)), None)
    if axes is None or any(small.get(key) for key in (*shrink.HEADS, *shrink.HEAD_SIZE, *shrink.WIDTH)):
        return 0
    for key in small:
        if key.startswith("num_") and key.endswith("_blocks"):
            small[key] = min(small[key], 2)
    small[axes] = shrink.small_axes(small[axes])
    return sum(small[axes])


def _small_vae(small: dict, config: dict) -> dict:
    # A few channels show the same: a run spends most of its time in convolutions.
    for key, value in small.items():
        if key.endswith("block_out_channels") and isinstance(value, (list, tuple)) and value == config[key]:
            small[key] = [max(1, size // min(value)) * _UNIT for size in value]
        elif key in _VAE_WIDTHS and isinstance(value, int):
            small[key] = min(value, _UNIT)
        elif key.endswith("layers_per_block") and value:
            small[key] = [1 for _ in value] if isinstance(value, (list, tuple)) else min(value, 1)
    groups = config.get("norm_num_groups")
    if isinstance(groups, int) and groups > 4 and groups % 4 == 0:
        small["norm_num_groups"] = 4
        for key, value in small.items():
            if key.endswith("block_out_channels") and isinstance(value, (list, tuple)):
                small[key] = [channels * 4 // groups for channels in value]
    return small


def _limit(small: dict) -> None:
    # Windows shorter than a prompt, a small size of latents, and a row for the padding token.
    for key, value in small.items():
        if isinstance(value, dict):
            _limit(value)
        elif key in _WINDOWS and isinstance(value, int):
            small[key] = min(value, _WINDOW)
        elif key == "sample_size" and isinstance(value, int):
            small[key] = min(value, SAMPLE)
    vocabulary, padding = small.get("vocab_size"), small.get("pad_token_id")
    if isinstance(vocabulary, int) and isinstance(padding, int) and padding >= vocabulary:
        small["pad_token_id"] = vocabulary - 1


@cache
def shrink_rules():
    """The module with the rules of a port's ``make_tiny_checkpoint.py``."""
    # The rendered harness is plain Python; this part imports nothing else from it.
    path = project_root() / _SHRINK
    spec = importlib.util.spec_from_file_location("mflux_port_shrink", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
