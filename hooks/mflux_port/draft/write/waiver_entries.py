"""Entries that a draft adds to the section ``ledger`` of a port's ``waivers.yml``; the rest of the file is kept."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.errors import PortError

_HEAD = "# What `mflux-port ledger` (section ledger) and run_mflux.py (section parity) may leave open, with reasons.\n"
_SECTION = re.compile(r"(?m)^ledger:[ \t]*\n(?P<indent> *(?=-))?")


def waivers_text(path: Path, known: dict[str, set[str]], wanted: dict[str, dict[str, str]]) -> str | None:
    """The file's text with an entry for each pattern of tensors that is not known; None if nothing is to be added.

    ``known``: patterns by component; ``wanted``: the same, each with the reason. Raises PortError for a file to which
    nothing can be added.
    """
    new = [
        {"component": component, "tensor": pattern, "reason": reason}
        for component, patterns in wanted.items()
        for pattern, reason in patterns.items()
        if pattern not in known.get(component, ())
    ]
    if not new:
        return None
    before = path.read_text(encoding="utf-8") if path.is_file() else _HEAD
    after = _added(before, new)
    _verify(path, before, after, new)
    return after


def _added(text: str, new: list[dict]) -> str:
    lines = [
        f'- {{component: {one["component"]}, tensor: "{one["tensor"]}", reason: "{one["reason"]}"}}\n' for one in new
    ]
    found = _SECTION.search(text)
    if found is None:
        return f"{text.rstrip()}\nledger:\n" + "".join(lines)
    indent = found["indent"] or ""
    start = found.end() - len(indent)
    return text[:start] + "".join(indent + line for line in lines) + text[start:]


def _verify(path: Path, before: str, after: str, new: list[dict]) -> None:
    import yaml

    old = yaml.safe_load(before) or {}
    try:
        same = yaml.safe_load(after) == old | {"ledger": [*new, *(old.get("ledger") or [])]}
    except yaml.YAMLError:
        same = False
    if not same:
        raise PortError(
            f"{path}: no entry can be added to ledger; write it as `ledger:` with a line `- …` for each entry"
        )
