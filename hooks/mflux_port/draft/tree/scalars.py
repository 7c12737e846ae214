"""What a module stores besides arrays and layers: numbers, strings, tuples of them; and how these follow the config."""

from __future__ import annotations

import re
from collections.abc import Callable

from mflux_port.draft.forward.writer.known_tables import table_size
from mflux_port.draft.forward.writer.names import argument_of


def scalars(owner, names: set[str], sizes: dict[str, object] | None = None) -> dict[str, str]:
    """The values of ``names`` that are plain, as source, from a module (or object) and its config.

    ``sizes``: what the top class takes as keywords, by name: a value that is one of them is written as its name.
    """
    found = {}
    for name in sorted(names):
        value = vars(owner).get(name, _MISSING)
        if value is _MISSING and not name.startswith("_"):
            value = _from_config(owner, name)
        if value is _MISSING:
            value = vars(owner).get("_arguments", {}).get(argument_of(name) or name, _MISSING)
        if value is _MISSING and (size := table_size(name, owner)) is not None:
            value = size
        if value is _MISSING:
            value = getattr(type(owner), name, _MISSING)
        if _is_plain(value):
            found[name] = _named(name, _as_tuples(value), sizes or {})
    return found


def _named(name: str, value: object, sizes: dict[str, object]) -> str:
    if isinstance(value, tuple) and len(value) > 1:
        equal = [key for key, size in sizes.items() if _as_tuples(size) == value]
        if len(equal) == 1 or name in equal:
            return f"tuple({name if name in equal else equal[0]})"
    if type(value) is int and sizes.get(name) == value:
        return name
    return repr(value)


_MISSING = object()


def _from_config(owner, name: str) -> object:
    config = getattr(owner, "config", None)
    if hasattr(config, "items") and name in config:
        return config[name]
    return getattr(config, name, _MISSING) if config is not None and not hasattr(config, "items") else _MISSING


def _is_plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, bool, str)


def _as_tuples(value: object) -> object:
    # MLX treats a list as a part of the module.
    return tuple(map(_as_tuples, value)) if isinstance(value, (tuple, list)) else value


def scalar(text: str, views: list, expression: Callable[[str, list], str]) -> str:
    """A value as an expression of the config's names if it follows them in all ``views``; otherwise unchanged.

    ``views``: (name, value, source of the value by factor); ``expression`` does it for one integer.
    """
    if text.isdigit():
        return expression(text, views)
    if re.fullmatch(r"\d*\.\d+(e-?\d+)?", text):
        return _root(text, views, expression)
    if re.fullmatch(r"\((\d+, ?)+\d*\)", text):
        return _sizes(text, views, expression)
    return text


def _root(text: str, views: list, expression: Callable) -> str:
    # The square root of a size, such as a factor of embeddings, or one over it, such as an attention's scale.
    if all(other == text for _, _, found in views for other in found.values()):
        return text
    for power in (0.5, -0.5):
        size = _under_root(text, power)
        inner = [
            (name, value, {factor: _under_root(other or "", power) for factor, other in found.items()})
            for name, value, found in views
        ]
        written = expression(size, inner) if size else size
        if written != size:
            return f"{written}**{power}" if written.isidentifier() else f"({written}) ** {power}"
    return text


def _under_root(text: str, power: float) -> str:
    """The whole number whose ``power`` is this number; empty if there is none."""
    try:
        number = float(text) ** (1 / power)
    except (ValueError, ZeroDivisionError, OverflowError):
        return ""
    whole = round(number) if number < 1e9 else 0
    return str(whole) if whole > 0 and abs(number - whole) < 1e-9 * number else ""


def _sizes(text: str, views: list, expression: Callable) -> str:
    parts = _parts(text)
    lengths = {len(_parts(other or "")) for _, _, found in views for other in found.values()}
    if lengths - {len(parts)}:
        return text
    written = []
    for place, part in enumerate(parts):
        inner = [(name, value, {factor: _parts(other or "")[place] for factor, other in found.items()})
                 for name, value, found in views]  # fmt: skip
        written.append(expression(part, inner))
    lists = [re.fullmatch(rf"(\w+)\[{place}\]", one) for place, one in enumerate(written)]
    if all(lists) and len({found[1] for found in lists}) == 1:
        return f"tuple({lists[0][1]})"
    return f"({', '.join(written)}{',' if len(written) == 1 else ''})"


def _parts(text: str) -> list[str]:
    return re.findall(r"\d+", text)
