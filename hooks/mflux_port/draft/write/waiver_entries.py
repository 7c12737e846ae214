"""Entries that a draft adds to the section ``ledger`` of a port's ``waivers.yml``; all else in the file stays as it is."""

from __future__ import annotations

from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.ledger.waivers import read_waivers

_HEAD = "# What `mflux-port ledger` (section ledger) and run_mflux.py (section parity) may leave open, each entry with its reason.\n"


def waivers_text(path: Path, wanted: dict[str, list[str]], reason: str) -> str | None:
    """The file's text with an entry for each pattern of tensors that no entry has; None where nothing is to be added.

    ``wanted``: patterns by component. Raises PortError for a file that is not one of waivers, or whose section is not a list of lines.
    """
    known = read_waivers(path)
    lines = [
        f'- {{component: {component}, tensor: "{pattern}", reason: "{reason}"}}\n'
        for component, patterns in wanted.items()
        for pattern in patterns
        if component not in known or pattern not in known[component].tensors
    ]
    if not lines:
        return None
    text = path.read_text(encoding="utf-8") if path.is_file() else _HEAD
    before, found, after = _section(text)
    if not found:
        return f"{text.rstrip()}\nledger:\n" + "".join(lines)
    if not after.lstrip("\n").startswith(("-", " ", "#")):
        raise PortError(
            f"{path}: ledger is not a list of lines; write it as `ledger:` with a line `- …` for each entry"
        )
    indent = after[: len(after) - len(after.lstrip(" "))]
    return before + found + "".join(indent + line for line in lines) + after


def _section(text: str) -> tuple[str, str, str]:
    start = text.find("ledger:\n") if text.startswith("ledger:\n") else text.find("\nledger:\n") + 1
    if start == 0 and not text.startswith("ledger:\n"):
        return text, "", ""
    end = start + len("ledger:\n")
    return text[:start], text[start:end], text[end:]
