"""Tick the boxes of ``porting/<model>/PORTING.md`` that follow from a command's result."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.files.writing import write_whole
from mflux_port.port.port import Port

# A box is identified by the command in its line, so that a reworded line keeps its tick.
DRAFT_BOX = re.compile(r"mflux-port draft \S+ --checkpoint")
LEDGER_BOX = re.compile(r"mflux-port ledger \S+ --checkpoint")
_LINE = re.compile(r"^- \[[ xX]\](?= )")


def set_box(root: Path, port: Port, box: re.Pattern, holds: bool) -> None:
    """Tick the box, or remove its tick. A guide without that box is left alone."""
    for name, text in with_box(root, port, box, holds).items():
        write_whole(root / name, text)


def with_box(root: Path, port: Port, box: re.Pattern, holds: bool) -> dict[str, str]:
    """The guide's text with the box set, by its path in the checkout; empty when that changes nothing."""
    name = f"{port.porting_folder}/PORTING.md"
    try:
        text = (root / name).read_bytes().decode("utf-8")  # with its own line endings
    except (OSError, UnicodeDecodeError):
        return {}
    mark = "- [x]" if holds else "- [ ]"
    lines = [_LINE.sub(mark, line) if box.search(line) else line for line in text.splitlines(keepends=True)]
    return {name: "".join(lines)} if "".join(lines) != text else {}
