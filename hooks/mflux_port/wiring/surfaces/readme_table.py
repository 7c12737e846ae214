"""The row in the root README's table of models."""

from __future__ import annotations

import re
from itertools import takewhile

from mflux_port.port.port import Checkpoint, Port
from mflux_port.wiring.block import Block, Span
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source, UnknownShape

ID = "readme_table"
FILE = "README.md"
REQUIRED = False
_KINDS = ("Turbo (distilled)", "Distilled", "Base")
_COLUMNS = ["Model", "Release date", "Size", "Type", "Training", "Description"]


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    lines = lines_with_spans(source)
    link = f"[{port.display_name}](src/mflux/models/{port.model}/README.md)"
    row = f"|{link} {_cells(port)}\n"
    marks = (f"models/{port.model}/", f"[{port.display_name}]")
    headers = [index for index, (line, _) in enumerate(lines) if _fields(line)[:2] == _COLUMNS[:2]]
    if len(headers) != 1 or _fields(lines[headers[0]][0]) != _COLUMNS:
        ours = [span for line, span in lines if _fields(line) and any(mark in line for mark in marks)]
        if ours:  # a row in a table whose form was changed
            return [Block("row", row, None, ours[0])]
        found = f"{len(headers)}" if len(headers) != 1 else "one with other columns"
        raise UnknownShape(
            f"{source.path}: looked for one table headed {' | '.join(_COLUMNS)}, found {found}; add the row by hand"
        )
    rows = list(takewhile(lambda row: row[0].lstrip().startswith("|"), lines[headers[0] + 1 :]))
    present = [span for line, span in rows if f"(src/mflux/models/{port.model}/README.md)" in line]
    others = [span for _, span in rows if span not in present]
    if not others:
        raise UnknownShape(f"{source.path}: the table of models has no rows; restore it")
    rewritten = next((span for line, span in rows if any(mark in line for mark in marks)), None)
    return [Block("row", row, _place(rows, present), present[0] if present else None, rewritten)]


def _place(rows: list[tuple[str, Span]], present: list[Span]) -> int:
    # The place after the last model; tools, which have no type, and legacy models come last.
    others = [(line, span) for line, span in rows if span not in present]
    models = [span for line, span in others if not _is_last(line)]
    return models[-1][1] if models else others[-1][1][1]


def _is_last(line: str) -> bool:
    fields = _fields(line)
    return "legacy" in line.lower() or len(fields) == len(_COLUMNS) and fields[_COLUMNS.index("Type")] in ("—", "-")


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.strip().strip("|").split("|")] if line.lstrip().startswith("|") else []


def _cells(port: Port) -> str:
    # Release date and size are not among the answers; a rule of `mflux-port check` fails until they are filled in.
    kinds = {_kind(checkpoint) for checkpoint in port.checkpoints}
    kind = " & ".join(kind for kind in _KINDS if kind in kinds)
    does = "Text-to-image and editing." if port.edits else "Text-to-image."
    return f"| ? | ? | {kind} | {'Yes' if port.training else 'No'} | {does} |"


def _kind(checkpoint: Checkpoint) -> str:
    # A distilled checkpoint may still support guidance; in that case only its name shows that it is distilled.
    if re.search(r"(?<![a-z])turbo(?![a-z])", f"{checkpoint.key} {checkpoint.hf_repo}".lower()):
        return "Turbo (distilled)"
    return "Base" if checkpoint.supports_guidance else "Distilled"
