"""The line under Unreleased."""

from __future__ import annotations

import re

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source

ID = "changelog"
FILE = "CHANGELOG.md"
REQUIRED = False
_UNRELEASED = re.compile(r"^##\s+\[?unreleased\]?", re.IGNORECASE)
_MODELS = re.compile(r"model|feature|added", re.IGNORECASE)


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    lines = lines_with_spans(source)
    start = next((index for index, (line, _) in enumerate(lines) if _UNRELEASED.match(line)), None)
    if start is None:
        return []  # a changelog that keeps no unreleased section is written at the release
    line = f"- **{port.display_name}**: added, with `mflux-generate-{port.cli_name}`.\n"
    section = []
    for entry in lines[start + 1 :]:
        if entry[0].startswith("## "):
            break
        section.append(entry)
    present = next((span for text, span in section if _is_ours(text, port)), None)
    at = _first_bullet_of_models(section, present)
    if at is not None:
        return [Block("line", line, at, present, free=True)]
    header = lines[start][1][1]
    if present:  # with the blank line that came with it
        blank = source.data.rfind(b"\n", 0, present[0] - 1) + 1
        present = (blank if not source.data[blank : present[0]].strip() else present[0], present[1])
    return [Block("line", f"\n{line}", header, present, free=True)]


def _is_ours(text: str, port: Port) -> bool:
    # By the command too: the display name may change.
    return text.startswith(f"- **{port.display_name}**") or bool(
        re.fullmatch(rf"- \*\*.+\*\*: added, with `mflux-generate-{re.escape(port.cli_name)}`\.\s*", text)
    )


def _first_bullet_of_models(section: list[tuple[str, tuple[int, int]]], present: tuple[int, int] | None) -> int | None:
    # Where a heading such as "New models" has bullets already.
    fitting = False
    for text, span in section:
        if text.startswith("### "):
            fitting = bool(_MODELS.search(text))
        elif fitting and text.startswith("- ") and span != present:
            return span[0]
    return None
