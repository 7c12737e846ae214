"""Decide whether a class of mflux computes what a checkpoint's component needs, by every value of its config.json.

The values that mflux implements are in components/reuse.yml.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path

import mflux_port
from mflux_port.errors import short_repr


@lru_cache(maxsize=1)
def reuse_table() -> dict:
    """components/reuse.yml."""
    import yaml

    package = Path(mflux_port.__file__).resolve().parent
    bundled = package / "_project" / "components" / "reuse.yml"  # a wheel contains it next to the package
    path = bundled if bundled.is_file() else package.parents[1] / "components" / "reuse.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def reusable(question: str, class_name: str, model_types: list[str], config: dict) -> tuple[str, str]:
    """The choice that fits a component, and why. If none fits: ``own``, and the first value that differs.

    ``question`` is vae or text_encoder; ``model_types`` are those of the config and of its text part.
    """
    fitting = [
        choice
        for choice, entry in reuse_table()[question].items()
        if class_name in entry.get("classes", ()) or set(model_types) & set(entry.get("model_types", ()))
    ]
    found = [
        (choice, [*_lacking(question, choice, class_name), *differences(question, choice, config)])
        for choice in fitting
    ]
    if not found:
        return "own", "which the template does not offer"
    choice, differing = min(found, key=lambda pair: len(pair[1]))
    if not differing:
        return choice, "every value of its config.json is the one that mflux implements"
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    return "own", f"mflux's {choice} differs: {differing[0]}{more}"


def _lacking(question: str, choice: str, class_name: str) -> list[str]:
    module = reuse_table()[question][choice].get("lacks", {}).get(class_name)
    return [f"{class_name} has {module}, mflux's class has none"] if module else []


def differences(question: str, choice: str, config: dict) -> list[str]:
    """Every value of a config that mflux's class for ``choice`` does not have, as `key is X; mflux's is Y`."""
    entry = reuse_table()[question][choice]
    config = _with_rotation(config) if "rope_type" in entry["implements"] else config
    found = [f"{key} is not in config.json" for key in entry.get("takes", ()) if not _is_number(config.get(key))]
    for key, default in entry.get("optional", {}).items():
        if not _is_number(config.get(key, default)):
            found.append(f"{key} is {short_repr(config[key])}, mflux's must be a number")
    for key, value in entry["implements"].items():
        if key not in config and key not in entry["absent"]:
            continue  # mflux implements the reference's default, except for the keys in `absent`
        given = config[key] if key in config else entry["absent"][key]
        if not _same(given, value):
            found.append(f"{key} is {short_repr(given)}; mflux's is {_shown(value)}")
    known = {*entry["implements"], *entry.get("takes", ()), *entry.get("optional", ()), *reuse_table()["no_effect"]}
    for key, value in config.items():
        if key not in known and not key.startswith("_") and not _is_empty(value):
            found.append(f"{key} is {short_repr(value)}, which mflux's class does not have")
    return found


def _with_rotation(config: dict) -> dict:
    # Rotary embeddings: older configs say rope_scaling, newer ones rope_parameters.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return config | {"rope_type": short_repr(rope)}
    kind = rope.get("rope_type", rope.get("type", "default"))
    # For plain text, all three axes of mrope are the position in the text.
    kind = "default" if kind == "mrope" else kind
    more = next(
        (key for key, value in rope.items() if key not in _PLAIN_ROPE and value not in (None, False, 1.0)), None
    )
    return config | {"rope_type": f"{kind} with {more} {short_repr(rope[more])}" if more else kind} if rope else config


# Keys that a rotary embedding without scaling may have: its base, how mrope divides its channels among an image's axes,
# and the scale of queries beyond original_max_position_embeddings, which no prompt reaches.
_PLAIN_ROPE = (
    "rope_theta", "rope_type", "type", "mrope_section", "mrope_interleaved", "original_max_position_embeddings",
    "llama_4_scaling_beta",
)  # fmt: skip


def _same(given: object, wanted: object) -> bool:
    if wanted == "any":
        return True
    if isinstance(wanted, dict):
        return any(_same(given, one) for one in wanted["one_of"])
    if isinstance(wanted, str) and (least := re.fullmatch(r"at least (\d+)", wanted)):
        return given is None or _is_number(given) and given >= int(least[1])
    if isinstance(given, list) and isinstance(wanted, list):
        return len(given) == len(wanted) and all(map(_same, given, wanted))
    if isinstance(given, list) and not isinstance(wanted, list):
        return all(_same(one, wanted) for one in given)  # equal in every layer
    if _is_number(given) and _is_number(wanted):
        return math.isclose(given, wanted, rel_tol=1e-5, abs_tol=1e-9)
    return type(given) is type(wanted) and given == wanted


def _shown(wanted: object) -> str:
    return " or ".join(map(short_repr, wanted["one_of"])) if isinstance(wanted, dict) else short_repr(wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in (0, "", [], {})
