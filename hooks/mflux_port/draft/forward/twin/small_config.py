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
SAMPLE = 16  # the size of the latents for which a twin has a table of positions


def small_config(name: str, config: dict) -> dict:
    """A component's config at small sizes. ``name``: the port's name for it."""
    shrink = shrink_rules()
    if name == "vae":
        small = shrink.shrink_vae(config)
        groups = config.get("norm_num_groups")
        if isinstance(groups, int) and groups > 4 and groups % 4 == 0:
            # A few channels are enough: a run spends most of its time in convolutions.
            small["norm_num_groups"] = 4
            for key in small:
                if key.endswith("block_out_channels") and isinstance(small[key], list):
                    small[key] = [channels * 4 // groups for channels in small[key]]
        if isinstance(small.get("layers_per_block"), int):
            small["layers_per_block"] = min(small["layers_per_block"], 1)
        return small
    small = shrink.shrink_network(config, shrink.Sizes(), part_of(name) == "text_encoder")
    for key, value in config.items():
        width = isinstance(value, int) and not isinstance(value, bool) and value > shrink.LARGE
        if width and small.get(key) == value and not any(word in key for word in shrink.KEPT):
            small[key] = 56 + 8 * (len(key) % 3)
        if key in ("quantization_config",):
            small.pop(key)
    _limit(small)
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
