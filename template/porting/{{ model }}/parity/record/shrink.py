"""Shrink a reference's configs to a tiny twin: small sizes, all different, that meet the model's own constraints."""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

LAYERS = {
    "num_layers": 3, "n_layers": 3, "num_single_layers": 2, "num_hidden_layers": 4, "n_refiner_layers": 1,
    "num_refiner_layers": 1, "depth": 3, "num_double_layers": 2, "num_blocks": 3, "encoder_layers": 2,
}  # fmt: skip
HEADS = ("num_attention_heads", "n_heads", "num_heads")
GROUPS = ("num_key_value_heads", "n_kv_heads", "num_kv_heads")
HEAD_SIZE = ("attention_head_dim", "head_dim", "d_kv")
WIDTH = ("hidden_size", "dim", "d_model", "inner_dim")
INNER = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "d_ff", "mlp_hidden_dim")
AXES = ("axes_dims", "axes_dims_rope", "axes_dim_rope", "rope_axes_dim", "axes_dim", "rope_axes_dims", "rope_dim_list")
LESS = 8  # the least difference of an encoder's width from that of its heads, if the reference has one
CHANNELS = ("in_channels", "out_channels")  # channels of the VAE's latents, which stay as they are
MOST_LAYERS = 16  # hidden states of an encoder that a transformer takes side by side
LARGE = 512  # a larger integer is reported if no rule changed it
SECTIONS = {"qwen2_vl": [16, 24, 24], "qwen2_5_vl": [16, 24, 24]}  # how models divide a head of 128 numbers among axes
TOKENS = {  # a token's name in config files, and the token
    "pad": ("<pad>",), "eos": ("</s>",), "bos": ("<s>",), "unk": ("<unk>",), "image": ("<|image_pad|>",),
    "video": ("<|video_pad|>",), "vision_start": ("<|vision_start|>",), "vision_end": ("<|vision_end|>",),
}  # fmt: skip
KEPT = (
    "position",
    "vocab",
    "rope",
    "theta",
    "token",
    "sample",
    "axes_len",
    "seq_len",
    "max_",
    "window",
    "t_scale",
    "time",
)


class Sizes:
    """Chooses sizes so that no two components share a width: a layout mistake is then visible.

    ``kept`` are sizes that stay as they are, such as the latents' channels: no width is one of them either.
    ``least``: the minimum width of the next network.
    """

    def __init__(self, kept: Iterable[int] = ()):
        self.kept = kept = set(kept)
        self.least = 0
        heads = ((3, 32), (4, 20), (4, 28), (4, 36), (4, 44), (5, 24), (5, 32), (5, 44), (7, 44))
        self._heads = [pair for pair in heads if not kept & {pair[0] * pair[1], pair[0] * pair[1] - _less(pair[0])}]
        self._inner = iter([size for size in (208, 176, 272, 304, 336, 368, 400) if size not in kept])
        self._vocab = iter((330, 346, 362, 378))

    def heads(self, size: int = 0) -> tuple[int, int]:
        """The number and the size of heads. ``size``: the real one, which three axes may share."""
        wide = [pair for pair in self._heads if pair[0] * pair[1] >= self.least]
        pair = next((pair for pair in wide if size % 3 == 0 and size and pair[1] % 3 == 0), next(iter(wide), None))
        if pair is None:
            return self._wide_heads()
        self._heads.remove(pair)
        return pair

    def _wide_heads(self) -> tuple[int, int]:
        # For encoders that keep their own width, such as one whose width mflux hard-codes.
        size = -(-(self.least + LESS) // 32) * 4
        while self.kept & {8 * size, 8 * size - LESS}:
            size += 4
        self.kept |= {8 * size, 8 * size - LESS}
        return 8, size

    def inner(self) -> int:
        return next(self._inner)

    def vocab(self) -> int:
        return next(self._vocab)


def _less(heads: int) -> int:
    # Some references only take a width that is a multiple of the number of heads.
    return LESS if LESS % heads == 0 else 4 * heads


def kept_sizes(configs: Iterable[dict]) -> set[int]:
    """The sizes that stay when these configs are shrunk: channels of images, latents and patches."""
    return {value for config in configs for key, value in config.items() if key in CHANNELS and type(value) is int}


def shrink_all(real: dict[str, dict], fixed: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> dict[str, dict]:
    """A smaller config of each network, with their shared sizes. Networks with equal configs stay equal.

    ``fixed``: the keys of each network that keep their values.
    """
    sizes = Sizes(kept_sizes(real.values()))
    small: dict[str, dict] = {}
    for name, config in sorted(real.items(), key=lambda item: item[0].startswith("text")):
        twin = next((other for other in small if real[other] == config), "")
        sizes.least = _width_of_joined(name, real, small)
        small[name] = copy.deepcopy(small[twin]) if twin else _shrunk(name, config, sizes)
        small[name] |= {key: config[key] for key in fixed.get(name, ()) if key in config}
    link(real, small)
    return small


def _width_of_joined(name: str, real: dict[str, dict], small: dict[str, dict]) -> int:
    # Vectors of the earlier text encoders, side by side, may be padded to the width of this one, if they are not wider.
    encoders = [other for other in small if name.startswith("text") and other.startswith("text")]
    widths = [_widths(real[other], small[other]) for other in encoders]
    own = _widths(real[name], real[name])[0]
    return sum(after for _, after in widths) if sum(before for before, _ in widths) <= own else 0


def _shrunk(name: str, config: dict, sizes: Sizes) -> dict:
    if name.startswith("vae"):
        return shrink_vae(config)
    small = shrink_network(config, sizes, "text" in name)
    before, after = _widths(config, small)
    is_small = 0 < before <= after and before not in sizes.kept
    return _kept(config, small) if is_small else small


def keeps_width(config: dict, small: dict) -> bool:
    """Whether a network was already as small as a twin, so that the twin has its sizes."""
    before, after = _widths(config, small)
    return 0 < before == after


def _widths(config: dict, small: dict) -> tuple[int, int]:
    # The width is 0 for a network whose config does not give it.
    pair = _width(config, small) or (_real_width(config), _real_width(small))
    return pair[0] or 0, pair[1] or 0


def _kept(config: dict, small: dict) -> dict:
    # The toy vocabulary must fit, and the network must have as few layers as any twin.
    kept = {key: _kept(value, small[key]) if isinstance(value, dict) else value for key, value in config.items()}
    kept |= {key: small[key] for key in (*LAYERS, "layer_types") if key in config}
    if type(config.get("vocab_size")) is int:
        kept["vocab_size"] = max(config["vocab_size"], small["vocab_size"])
    heads, size, width = (_first(config, keys) for keys in (HEADS, HEAD_SIZE, WIDTH))
    if size or heads and width:
        _give_sections(config, kept, config[size] if size else config[width] // config[heads])
    return kept


def shrink_network(config: dict, sizes: Sizes, text: bool) -> dict:
    """A smaller config of a transformer or (``text``) of a text encoder; nested configs are shrunk too."""
    small = dict(config)
    for key, value in config.items():
        if isinstance(value, dict) and _first(value, HEADS):
            small[key] = shrink_network(value, sizes, text)
        elif key in LAYERS and isinstance(value, int):
            small[key] = min(value, LAYERS[key])
    _shrink_places(config, small)
    if isinstance(small.get("layer_types"), list):
        small["layer_types"] = _pattern(config["layer_types"], small)
    if _first(config, HEADS):
        _shrink_attention(config, small, sizes, text)
    if "vocab_size" in config:
        small["vocab_size"] = sizes.vocab()
    _follow_text_width(config, small)
    return small


def _shrink_places(config: dict, small: dict) -> None:
    # Numbers of layers that do something more than the others: without them in the twin, that code would never run.
    for key, value in config.items():
        depths = [name for name in LAYERS if type(config.get(name)) is int and _are_places(key, value, config[name])]
        for depth in [name for name in depths if value[-1] >= small[name]][:1]:
            before, after = value[0] > 0, value[-1] < config[depth] - 1  # whether there are layers around them
            small[key] = [n + before for n in range(len(value))]
            small[depth] = max(small[depth], len(value) + before + after)


def _are_places(key: str, value: object, depth: int) -> bool:
    """Whether a config's value is a list of the numbers of some of its ``depth`` layers."""
    if not isinstance(value, list) or not value or any(type(item) is not int for item in value):
        return False
    rising = value == sorted(set(value)) and 0 <= value[0] and value[-1] < depth
    return rising and len(value) <= MOST_LAYERS and any(word in key for word in ("layer", "block", "index", "indices"))


def follow_tokens(small: dict, ids: dict[str, int]) -> None:
    """Replace a config's token ids by those of the toy vocabulary ``ids``, by key name; also in nested configs.

    An id within the toy's range stays: for some encoders a low number has a special meaning.
    """
    for key, value in small.items():
        if isinstance(value, dict):
            follow_tokens(value, ids)
        elif key.endswith(("_token_id", "_token_index")) and type(value) is int and value >= len(ids):
            word = key.rpartition("_token_")[0]
            small[key] = next((ids[token] for token in TOKENS.get(word, ()) if token in ids), 0)


def shrink_vae(config: dict) -> dict:
    """A smaller VAE: the channels keep their pattern and stay multiples of the norm's groups."""
    small = dict(config)
    unit = config.get("norm_num_groups") or 32
    for key in ("block_out_channels", "decoder_block_out_channels"):
        channels = config.get(key)
        if channels:
            small[key] = [max(1, value // min(channels)) * unit for value in channels]
    for key in ("base_dim", "decoder_base_dim"):
        if isinstance(config.get(key), int):
            small[key] = 16
    if isinstance(config.get("sample_size"), int):
        small["sample_size"] = 64
    return small


def hidden_layers_read(pipeline) -> int:
    """The number of text encoder layers that a pipeline needs, if it selects them by number, else 0.

    The numbers are defaults of its call or its constructor, or hard-coded in its module, under a name for layers.
    """
    given = [inspect.signature(method).parameters.items() for method in (pipeline.__call__, pipeline.__init__)]
    named = [(name, parameter.default) for parameters in given for name, parameter in parameters]
    named += _written_down(pipeline)
    numbers = [list(_whole(value)) for name, value in named if "layer" in name.lower()]
    highest = max((max(found) for found in numbers if found), default=-1)
    return highest + 2 if highest >= 0 else 0


def keep_layers(small: dict, count: int) -> None:
    """Give an encoder at least ``count`` layers, wherever its config names them."""
    for key in ("num_hidden_layers", "num_layers"):
        if key in small:
            kinds = small.get("layer_types")
            small[key] = max(count, small[key])
            if isinstance(kinds, list) and kinds:
                small["layer_types"] = [kinds[n % len(kinds)] for n in range(small[key])]
            return
    for name, value in small.items():
        if isinstance(value, dict) and "text" in name:
            keep_layers(value, count)


def token_ids_read(pipeline) -> int:
    """The highest token id that a pipeline's source hard-codes, 0 if it has none."""
    named = [value for name, value in _written_down(pipeline) if "token_id" in name.lower() and type(value) is int]
    return max(named, default=0)


def _written_down(pipeline) -> Iterator[tuple[str, object]]:
    """The plain values that a pipeline's module assigns, at any depth, with their names."""
    source = inspect.getsource(sys.modules[pipeline.__module__])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            with contextlib.suppress(ValueError):
                value = ast.literal_eval(node.value)
                yield from ((ast.unparse(target), value) for target in node.targets)


def keep_vocabulary(real: dict, small: dict) -> None:
    """Undo what shrinking did to the size of the vocabulary."""
    for key, value in real.items():
        if key == "vocab_size":
            small[key] = value
        elif isinstance(value, dict) and isinstance(small.get(key), dict):
            keep_vocabulary(value, small[key])


def link(real: dict[str, dict], small: dict[str, dict]) -> None:
    """Keep sizes shared: a size that equals a text encoder's width, or a multiple of it, follows it."""
    widths = [_width(real[name], small[name]) for name in real if name.startswith("text_encoder")]
    for name, config in real.items():
        if name.startswith(("text_encoder", "vae")):
            continue
        own = set(filter(None, (_first(config, WIDTH), *(_first(config, keys) for keys in (HEADS, HEAD_SIZE, INNER)))))
        for key, value in config.items():
            if key in own or key in CHANNELS or type(value) is not int or value < 64:
                continue
            if value == _real_width(config) and value not in (width[0] for width in widths if width):
                continue  # the transformer's own width, a multiple of a small encoder's by chance
            for before, after in filter(None, widths):
                if value % before == 0 and value // before <= MOST_LAYERS:
                    small[name][key] = value // before * after
                    _divide(config, small[name], key)


def _divide(config: dict, small: dict, key: str) -> None:
    # Heads of blocks that have the encoder's width, such as `text_num_attention_heads` next to `text_hidden_dim`.
    prefix = key.split("_")[0]
    for name in (*HEADS, *GROUPS):
        heads = config.get(f"{prefix}_{name}")
        if type(heads) is int and small[key] % heads:
            small[f"{prefix}_{name}"] = 4
    for name in INNER:
        if type(config.get(f"{prefix}_{name}")) is int:
            small[f"{prefix}_{name}"] = 256


def unshrunk(config: dict, small: dict, prefix: str = "") -> list[str]:
    """Large numbers that no rule shrank, as ``key = value``."""
    left = []
    for key, value in config.items():
        if isinstance(value, dict) and isinstance(small.get(key), dict):
            left += unshrunk(value, small[key], f"{prefix}{key}.")
        elif isinstance(value, int) and value > LARGE and small.get(key) == value and not key.startswith(KEPT):
            if not any(word in key for word in KEPT):
                left.append(f"{prefix}{key} = {value}")
    return left


def _shrink_attention(config: dict, small: dict, sizes: Sizes, text: bool) -> None:
    heads, size = sizes.heads(_head_size(config))
    axes = _first(config, AXES)
    if axes and _first(config, HEAD_SIZE + AXES):
        size = _shrink_axes(config, small, axes)
    for key in HEADS:
        if key in config:
            small[key] = heads
    for key in GROUPS:
        if isinstance(config.get(key), int):
            same = config[key] == config[_first(config, HEADS)]
            small[key] = heads if same else max(1, heads // 2)
    given = [key for key in HEAD_SIZE if isinstance(config.get(key), int)]
    for key in given:
        small[key] = size
    width = heads * size
    if given and text and config.get(_first(config, WIDTH)) != config[_first(config, HEADS)] * config[given[0]]:
        width = heads * size - _less(heads)  # a separate width, as in the reference
    for key in WIDTH:
        if isinstance(config.get(key), int):
            small[key] = width
    for key in INNER:
        if isinstance(config.get(key), int):
            small[key] = sizes.inner()
    _shrink_sections(config, small, size)
    if not text:  # the size that an encoder projects to depends on the transformer, not on its own width
        _follow_width(config, small, width)


def _head_size(config: dict) -> int:
    given = config.get(_first(config, HEAD_SIZE))
    return given if type(given) is int else 0


def _shrink_axes(config: dict, small: dict, key: str) -> int:
    small[key] = small_axes(config[key])
    return sum(small[key])


def small_axes(axes: list[int]) -> list[int]:
    """A quarter of each RoPE axis, still even: the proportions between the axes are kept, and so is an empty axis."""
    return [max(2, value // 8 * 2) if value else 0 for value in axes]


def _shrink_sections(config: dict, small: dict, size: int) -> None:
    # Multimodal rotary positions divide half of a head's numbers.
    for key in ("rope_parameters", "rope_scaling"):
        if isinstance(config.get(key), dict) and config[key].get("mrope_section"):
            small[key] = {**config[key], "mrope_section": _shares(config[key]["mrope_section"], size // 2)}
    if isinstance(config.get("mrope_section"), list):
        small["mrope_section"] = _shares(config["mrope_section"], size // 2)
    _give_sections(config, small, size)


def _give_sections(config: dict, small: dict, size: int) -> None:
    # Some models divide them by a rule in their code, which no config shows and which fits only one head size.
    given = (key for key in ("rope_parameters", "rope_scaling") if isinstance(config.get(key), dict))
    rope = next(given, "rope_scaling")
    known = SECTIONS.get(str(config.get("model_type")).removesuffix("_text"))
    if known and _first(config, HEADS) and "mrope_section" not in (config.get(rope) or {}):
        small[rope] = {"rope_type": "default", **(config.get(rope) or {}), "mrope_section": _shares(known, size // 2)}


def _follow_width(config: dict, small: dict, width: int) -> None:
    # Other names for the same width, such as the width to which the caption is projected.
    for key in config.keys() - {*HEADS, *GROUPS, *HEAD_SIZE, *WIDTH, *INNER, *CHANNELS}:
        if type(config[key]) is int and config[key] == _real_width(config):
            small[key] = width


def _shares(parts: list[int], total: int) -> list[int]:
    # Keep the proportions with a different sum.
    rest = [max(1, part * total // sum(parts)) for part in parts[1:]]
    return [total - sum(rest), *rest]


def _follow_text_width(config: dict, small: dict) -> None:
    # An image encoder outputs vectors of the text encoder's width.
    text = next((name for name, value in config.items() if isinstance(value, dict) and "text" in name), None)
    width = _width({text: config[text]}, {text: small[text]}) if text else None
    for name, value in config.items() if width else ():
        for key, size in value.items() if name != text and isinstance(value, dict) else ():
            if key == "out_hidden_size" or key.startswith("out") and size == width[0]:
                small[name] = {**small[name], key: width[1]}


def _whole(value: object) -> Iterator[int]:
    """All integers in nested tuples and lists."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from [item] if type(item) is int else _whole(item)


def _pattern(kinds: list, small: dict) -> list:
    # Fewer layers, with each kind that the reference has.
    count = next((small[key] for key in LAYERS if key in small), len(kinds))
    missing = [kind for kind in dict.fromkeys(kinds) if kind not in kinds[:count]]
    return [*kinds[: max(1, count - len(missing))], *missing][:count]


def _width(real: dict, small: dict) -> tuple[int, int] | None:
    key = _first(real, WIDTH)
    if key:
        return real[key], small[key]
    for name, value in real.items():
        if isinstance(value, dict) and "text" in name and _first(value, WIDTH):
            return value[_first(value, WIDTH)], small[name][_first(value, WIDTH)]
    return None


def _real_width(config: dict) -> int | None:
    key, heads, size = (_first(config, keys) for keys in (WIDTH, HEADS, HEAD_SIZE))
    if key:
        return config[key]
    whole = heads and size and type(config[heads]) is type(config[size]) is int
    return config[heads] * config[size] if whole else None


def _first(config: dict, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if config.get(key) is not None), None)
