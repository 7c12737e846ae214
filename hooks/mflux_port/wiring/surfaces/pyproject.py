"""The console commands in ``[project.scripts]``."""

from __future__ import annotations

import json
import re

from mflux_port.files.parsing import console_scripts
from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape, once

ID = "pyproject"
FILE = "pyproject.toml"
REQUIRED = True
_HEADER = re.compile(rb"^[ \t]*\[[ \t]*project[ \t]*\.[ \t]*scripts[ \t]*\][ \t]*(#.*)?\r?$", re.MULTILINE)
_ENTRY = re.compile(rb"^[ \t]*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*=.*(?:\n|\Z)", re.MULTILINE)
_NEXT = re.compile(rb"^[ \t]*\[", re.MULTILINE)


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    headers = list(_HEADER.finditer(source.data))
    if len(headers) != 1:
        scripts(source)  # raises for a file that is not TOML
        raise UnknownShape(
            f"{source.path}: looked for one [project.scripts] table, found {len(headers)}; keep exactly one"
        )
    start = min(headers[0].end() + 1, len(source.data))
    following = _NEXT.search(source.data, start)
    stop = following.start() if following else len(source.data)
    entries = {_name(match): match.span() for match in _ENTRY.finditer(source.data, start, stop)}
    generators = [
        span for name, span in entries.items() if name.startswith("mflux-generate") and name not in port.scripts
    ]
    at = max((span[1] for span in generators), default=start)
    blocks = []
    for name, target in port.scripts.items():
        key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
        blocks.append(Block(name, f'{key} = "{target}"\n', at, entries.get(name)))
    return blocks


def _name(match: re.Match) -> str:
    return match.group(1).decode("utf-8", "replace").strip("\"'")


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    found = scripts(source)
    for name, target in port.scripts.items():
        if found.get(name) != (target if wired else None):
            return f"the command {name} would be {found.get(name)}"
    return None


@once
def scripts(source: Source) -> dict[str, object]:
    """Every command with its target. Raises UnknownShape when the file is not TOML, or its commands are not a table."""
    try:
        return console_scripts(source.data)
    except ValueError as error:
        raise UnknownShape(f"{source.path} is not valid TOML ({error}); fix it and run this again") from None
