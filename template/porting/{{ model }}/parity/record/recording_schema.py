"""Check once that a recording has the form that a Recorder writes, so that a damaged file fails here, not later.

Every function raises ValueError with what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod

SIZES = {"F32": 4, "F64": 8, "I64": 8, "I32": 4, "BF16": 2, "BOOL": 1}
FACTS = {
    "pipeline": str, "model": str, "checkpoint": str, "run": str, "prompt": str, "negative_prompt": str, "dtype": str,
    "seed": int, "width": int, "height": int, "steps": int, "guidance": float, "versions": dict, "normalisation": dict,
    "weights": dict, "classes": dict, "denoisers": dict, "arguments": dict, "applied": dict, "sign": float,
}  # fmt: skip
# Facts that only the recording for a claim has: another run's recording would give no rows, and none could fail.
CLAIMS = {"lora": ("lora", "files"), "training": ("lora", "schemes"), "image": ("image", "starts")}
_PRINT = {"shape", "low", "high", "total", "squares", "probes"}


def json_object(text: str | bytes, what: str) -> dict:
    """A JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def rows_of(text: str) -> list[tuple]:
    """The table of events: name, shape, stride, and the name that holds the values."""
    rows = json_object(f'{{"rows": {text}}}', "the table of events")["rows"]
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError("the table of events has another form")
    return rows


def verify_tensors(index: dict, rows: list[tuple], data: int) -> None:
    """Check that each event has as many values as its shape and stride say. ``data``: bytes after the header."""
    shapes = {name: (shape, stride) for name, shape, stride, _ in rows}
    if len(shapes) < len(rows):
        raise ValueError("two events have one name")
    for name, shape, stride, same in rows:
        entry = index.get(same or name)
        if entry is None or shapes.get(same or name) != (shape, stride):
            raise ValueError(f"nothing holds the values of {name[:100]}")
        begin, end = _span(entry, name)
        if end > data:
            raise ValueError(f"it is cut off, {data} of {end} bytes are left")
        if end - begin != SIZES[entry["dtype"]] * -(-prod(shape) // stride):
            raise ValueError(f"{name[:100]} has {end - begin} bytes, not what its shape needs")


def verify_facts(facts: dict, wanted: Iterable[str] = FACTS) -> None:
    """Check that every fact about the run that a comparison needs exists and has the right type."""
    for name in wanted:
        kinds = (int, float) if FACTS[name] is float else (FACTS[name],)
        if not isinstance(facts.get(name), kinds) or isinstance(facts[name], bool):
            raise ValueError(f"its facts have no {name}")
    if not all(isinstance(entry, dict) and entry.keys() == _PRINT for entry in facts["weights"].values()):
        raise ValueError("its facts have no fingerprints of the weights")
    if not all(_are_texts(entry, 2) for entry in facts["classes"].values()):
        raise ValueError("its facts have no classes of the modules")
    _verify_calls(facts)
    if facts["normalisation"].keys() not in ({"shift", "scale"}, {"mean", "std"}):
        raise ValueError("its facts have no normalisation")


def verify_claim(facts: dict, claim: str) -> None:
    """Check that the facts are of a run that was made for a claim, if that claim has a run of its own."""
    if claim not in CLAIMS:
        return
    part, fact = CLAIMS[claim]
    found = facts.get(part)
    if not isinstance(found, dict) or not found.get(fact):
        raise ValueError(f"it was made without --{claim}, or by an older version")


def _verify_calls(facts: dict) -> None:
    known = {"latents": str, "listed": bool}
    for entry in facts["denoisers"].values():
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), kind) for name, kind in known.items()):
            raise ValueError("its facts have no latents of the transformer")
    for stage, names in facts["arguments"].items():
        if (
            not stage.partition(".")[2].replace(".", "").isdigit()
            or not isinstance(names, list)
            or not _are_texts(names, len(names))
        ):
            raise ValueError("its facts have no arguments of the transformer")
    if not isinstance(facts["applied"].get("value", ""), int | float | None):
        raise ValueError("its facts have no guidance that was applied")


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    name, shape, stride, same = row
    sizes = isinstance(shape, list) and len(shape) <= 64 and all(_is_size(size) for size in shape)
    names = _are_texts([name, same], 2) and name.count("/") >= 2
    return sizes and names and _is_size(stride) and stride > 0


def _span(entry: object, name: str) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    sound = isinstance(offsets, list) and len(offsets) == 2 and all(map(_is_size, offsets))
    if not sound or entry.get("dtype") not in SIZES:
        raise ValueError(f"{name[:100]} has no place in the file")
    return offsets[0], offsets[1]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _are_texts(values: object, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(value, str) for value in values)
