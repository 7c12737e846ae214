"""Find the constants that depend on the transformer's ``sample_size``: a twin's differs from the real one.

The pipeline is built again with twice the size, and its first call of the transformer is compared.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from fractions import Fraction

NAME = "sample_size"
FOLLOWING = "constant", "rotary", "table"  # rules with a number that may depend on the size
_NUMBERS = "value", "side", "factor"  # the keys of those numbers; each rule has one of them


@contextlib.contextmanager
def doubled(pipe) -> Iterator[object]:
    """The pipeline made from the same parts with twice the transformer's size; None without such a number."""
    part = getattr(pipe, "transformer", None)
    size = part.config.get(NAME) if part is not None else None
    if not isinstance(size, int):
        yield None
        return
    part.register_to_config(**{NAME: 2 * size})
    try:
        yield type(pipe)(**{**_settings(pipe), **pipe.components})
    finally:
        part.register_to_config(**{NAME: size})


def _settings(pipe) -> dict:
    """The plain arguments that the pipeline was made with, such as ``is_distilled``."""
    taken = inspect.signature(type(pipe).__init__).parameters
    plain = (bool, int, float, str)
    return {name: value for name, value in pipe.config.items() if name in taken and isinstance(value, plain)}


def with_origin(rule: dict, other: dict | None, size: int) -> dict | None:
    """``rule`` with the formula of each number that ``other``, the rule at twice the size, has differently.

    None if a number changes in any other way.
    """
    if rule["is"] not in FOLLOWING or rule == other:
        return rule
    if other is None or other["is"] != rule["is"]:
        return None
    if rule["is"] == "table":
        items = {name: with_origin(item, other["items"].get(name), size) for name, item in rule["items"].items()}
        return None if None in items.values() else rule | {"items": items}
    changed = [name for name in rule if rule[name] != other.get(name)]
    known = len(changed) == 1 and changed[0] in _NUMBERS
    formula = _formula(rule[changed[0]], other.get(changed[0]), size) if known else ""
    return rule | {"of": formula} if formula else None


def _formula(value: object, twice: object, size: int) -> str:
    if not all(isinstance(number, (int, float)) for number in (value, twice)):
        return ""
    for power in (1, 2):
        factor = Fraction(value).limit_denominator(4096) / size**power
        if factor * (2 * size) ** power == Fraction(twice).limit_denominator(4096):
            name = NAME if power == 1 else f"{NAME}**2"
            times = name if factor.numerator == 1 else f"{factor.numerator} * {name}"
            divided = "/" if isinstance(value, float) else "//"
            return times if factor.denominator == 1 else f"{times} {divided} {factor.denominator}"
    return ""
