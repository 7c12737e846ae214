"""The line under Unreleased."""

from __future__ import annotations

import re
from itertools import takewhile

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block, Span
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source

ID = "changelog"
FILE = "CHANGELOG.md"
REQUIRED = False
_UNRELEASED = re.compile(r"^##\s+\[?unreleased\]?", re.IGNORECASE)
_MODEL_HEADING = re.compile(r"### .*\bmodels?\b", re.IGNORECASE)
_MODELS = re.compile(r"model|feature|added", re.IGNORECASE)


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    text = f"- **{port.display_name}**: added, with {_commands(port)}.\n"
    lines = lines_with_spans(source)
    start = next((index for index, (line, _) in enumerate(lines) if _UNRELEASED.match(line)), None)
    section = [] if start is None else list(takewhile(lambda line: not line[0].startswith("## "), lines[start + 1 :]))
    # The exact line also counts in released sections, because Unreleased may have become a release.
    ours = [span for line, span in section if line.startswith(f"- **{port.display_name}**")]
    present = next((span for line, span in lines if span in ours or _is_ours(line, port)), None)
    if start is None and present is None:
        return []  # without an Unreleased section, the changelog is written at the release
    rewritten = next((span for line, span in section if _names(line, port)), None)
    at = _first_bullet_of_models(section, present)
    if at is not None or start is None or (present and present not in [span for _, span in section]):
        return [Block("line", text, at or 0, present, rewritten)]
    if any(line.startswith("### ") for line, _ in section):
        heading = f"\n{_heading_of_models(lines)}\n\n"
        return [_led(source, heading, text, lines[start][1][1], present, rewritten)]
    return [_led(source, "\n", text, lines[start][1][1], present, rewritten)]


def _commands(port: Port) -> str:
    *others, last = (f"`{name}`" for name in port.scripts)
    return f"{', '.join(others)} and {last}" if others else last


def _is_ours(line: str, port: Port) -> bool:
    # Recognised by the command, because the display name may change.
    form = rf"- \*\*.+\*\*: added, with `mflux-generate-{re.escape(port.cli_name)}`((, | and )`[^`]+`)*\.\s*"
    return bool(re.fullmatch(form, line))


def _names(line: str, port: Port) -> bool:
    names = f"{re.escape(port.display_name)}|mflux-generate-{re.escape(port.cli_name)}"
    return line.startswith("- ") and bool(re.search(rf"(?<![\w.-])({names})(?![\w-])", line))


def _heading_of_models(lines: list[tuple[str, Span]]) -> str:
    # The same form as in earlier releases.
    return next((line.rstrip() for line, _ in lines if _MODEL_HEADING.match(line)), "### New Model Support")


def _led(source: Source, lead: str, text: str, at: int, present: Span | None, rewritten: Span | None) -> Block:
    # The text inserted before the line is removed with it, unless another model is listed there.
    if present and source.data[: present[0]].endswith(source.encode(lead)):
        present = present[0] - len(source.encode(lead)), present[1]
    elif present:
        lead = ""
    return Block("line", text, at, present, rewritten, lead=lead)


def _first_bullet_of_models(section: list[tuple[str, Span]], present: Span | None) -> int | None:
    # The place where a heading such as "New models" already has bullets.
    in_models = False
    for line, span in section:
        if line.startswith("### "):
            in_models = bool(_MODELS.search(line))
        elif in_models and line.startswith("- ") and span != present:
            return span[0]
    return None
