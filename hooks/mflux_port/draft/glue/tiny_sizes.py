"""The sizes of the fast tests: the reference's own configs made small, with widths that mflux quantizes."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection

from mflux_port.draft.forward.twin.small_config import shrink_rules
from mflux_port.draft.glue.signature import constructor_arguments
from mflux_port.files.parsing import parse_python

_GROUP = 64  # mflux quantizes in groups of this many inputs
_WIDTH = 3 * _GROUP  # the width of a transformer; its feed-forward may be 8 / 3 times as wide
_PLAIN = (6, 32), (4, 48)  # heads and their size: of a transformer, of a text encoder
_STAND_IN = 2 * _GROUP  # the width of the tests' classes for T5 and CLIP
_NARROW = (4, 16)  # heads and their size: of encoders whose vectors, side by side, fit into that width
_INNER = (192, 256, 320, 384)


class _Sizes:
    """Sizes for a twin's rules with which every layer can be quantized."""

    def __init__(self, pair: tuple[int, int]):
        self._pair, self._inner = pair, iter(_INNER)

    def heads(self, size: int = 0) -> tuple[int, int]:  # the tests' own, whatever the real ones are
        return self._pair

    def inner(self) -> int:
        return next(self._inner)

    def vocab(self) -> int:
        return 330


def small_configs(real: dict[str, dict], twin: dict[str, dict], stand_ins: Collection[str] = ()) -> dict[str, dict]:
    """Configs of transformer and text encoder at tiny sizes.

    ``twin``: the configs of the pipeline's twin, whose depths are kept.

    ``stand_ins``: the encoders that the tests replace with a fixed-width class.
    """
    shrink = shrink_rules()
    less, shrink.LESS = shrink.LESS, _GROUP  # an encoder's separate width stays a multiple
    narrow = _side_by_side(real, stand_ins)
    try:
        small = {name: shrink.shrink_network(config, _Sizes(_NARROW if name in narrow else _pair(name, config, shrink)), "text" in name)
                 for name, config in real.items()}  # fmt: skip
        for name in stand_ins:
            small[name] |= {key: _STAND_IN for key in ("d_model", "hidden_size") if key in small[name]}
        shrink.link(real, small)
    finally:
        shrink.LESS = less
    for name, config in small.items():
        _keep(config, twin.get(name, {}), shrink)
    return small


def _side_by_side(real: dict[str, dict], stand_ins: Collection[str]) -> set[str]:
    """The encoders that together are at most as wide as one that the tests replace: zeros may fill them up to its
    width.
    """
    widths = {
        name: config.get("d_model") or config.get("hidden_size") or 0 for name, config in real.items() if "text" in name
    }
    own = {name: width for name, width in widths.items() if name not in stand_ins}
    most = max((widths[name] for name in stand_ins if name in widths), default=0)
    return set(own) if len(own) > 1 and sum(own.values()) <= most else set()


def _pair(name: str, config: dict, shrink) -> tuple[int, int]:
    """The number of heads and their size. If rotary axes fix the size, the number of heads is chosen to fit."""
    key = next((key for key in shrink.AXES if config.get(key)), None)
    if "text" in name or key is None:
        return _PLAIN["text" in name]
    size = sum(shrink.small_axes(config[key]))
    return _WIDTH // math.gcd(_WIDTH, size), size


def _keep(config: dict, twin: dict, shrink) -> None:
    for key, value in twin.items():
        if key in shrink.LAYERS or key in ("layer_types", "vocab_size") or "token" in key:
            config[key] = value
        elif isinstance(value, dict) and isinstance(config.get(key), dict):
            _keep(config[key], value, shrink)


def sizes_text(
    source: str,
    drafted: dict[str, str],
    reference: str,
    real: dict[str, dict],
    small: dict[str, dict],
    of_pairs: tuple[str, ...] = (),
) -> str:
    """The rendered file of sizes with those of the drafted classes.

    ``drafted``: their sources by the port's names, without the encoders that are mflux's own; ``reference``: the
    transformer's class there; ``of_pairs``: its arguments of complex numbers.
    """
    taken = constructor_arguments(drafted["transformer"])
    own = {name: value for name, value in small["transformer"].items() if not name.startswith("_")}
    changed = {name: own[name] for name in taken if name in own and own[name] != real["transformer"].get(name)}
    tables = {"TRANSFORMER": changed}
    named = _keys(source, "TEXT_ENCODER")
    if named and all(isinstance(value, dict) for value in named.values()):  # of several encoders
        tables["TEXT_ENCODER"] = {
            name: _sized(value, small.get(name, {}), real.get(name, {}), drafted.get(name, ""))
            for name, value in named.items()
        }
    elif named:
        parts = (table.get("text_encoder", {}) for table in (small, real))
        tables["TEXT_ENCODER"] = _sized(named, *parts, drafted.get("text_encoder", ""))
    tables |= {"REFERENCE_CLASS": reference, "REFERENCE": own, "REFERENCE_COMPLEX": of_pairs}
    for name, value in tables.items():
        source = _replaced(source, name, value)
    return source


def _sized(named: dict, small: dict, real: dict, drafted: str) -> dict:
    flat, taken = _flat(small), constructor_arguments(drafted)
    if taken and not named.keys() <= set(taken):
        before = _flat(real)
        return {name: flat[name] for name in taken if name in flat and flat[name] != before.get(name)}
    return {name: flat.get(name, value) for name, value in named.items()}


def with_vae_channels(source: str, vae: dict) -> str:
    """The file with tiny channel counts for a drafted VAE: multiples of its norms' groups, in the same proportions."""
    channels, unit = vae.get("block_out_channels"), vae.get("norm_num_groups") or 32
    if not channels:
        return source
    small = {width: unit * max(1, width // min(channels)) for width in channels}
    return _replaced(source, "VAE_CHANNELS", small)


def _replaced(source: str, name: str, value: object) -> str:
    node = _assignment(source, name)
    if node is None:
        return source
    lines = source.splitlines(keepends=True)
    lines[node.lineno - 1 : node.end_lineno] = [f"    {name} = {_literal(value)}\n"]
    return "".join(lines)


def _literal(value: object) -> str:
    if isinstance(value, dict):
        return "{" + "".join(f"{name!r}: {_literal(item)}, " for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"({''.join(f'{_literal(item)}, ' for item in value)})"
    return repr(value)


def _keys(source: str, name: str) -> dict:
    node = _assignment(source, name)
    return ast.literal_eval(node.value) if node is not None else {}


def _assignment(source: str, name: str) -> ast.Assign | None:
    nodes = [node for node in ast.walk(parse_python(source)) if isinstance(node, (ast.Assign, ast.AnnAssign))]
    targets = ((node, node.targets[0] if isinstance(node, ast.Assign) else node.target) for node in nodes)
    return next((node for node, target in targets if isinstance(target, ast.Name) and target.id == name), None)


def _flat(config: dict) -> dict:
    inner = {}
    for name, value in config.items():
        if isinstance(value, dict):
            prefix = "vision_" * (name == "vision_config")
            inner |= {prefix + key: size for key, size in _flat(value).items()}
    return inner | {name: value for name, value in config.items() if not isinstance(value, dict)}
