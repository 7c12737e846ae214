"""The row in the root README's table of models."""

from __future__ import annotations

import re

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source, UnknownShape

ID = "readme_table"
FILE = "README.md"
REQUIRED = False
_HEADER = re.compile(r"\|\s*Model\s*\|\s*Release date\s*\|")


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    lines = lines_with_spans(source)
    headers = [index for index, (line, _) in enumerate(lines) if _HEADER.match(line)]
    if len(headers) != 1:
        raise UnknownShape(
            f"{source.path}: looked for one table headed Model | Release date, found {len(headers)}; restore it"
        )
    rows = []
    for line, span in lines[headers[0] + 1 :]:
        if not line.lstrip().startswith("|"):
            break
        rows.append((line, span))
    link = f"(src/mflux/models/{port.model}/README.md)"
    present = next((span for line, span in rows if link in line), None)
    others = [span for line, span in rows if link not in line]
    if not others:
        raise UnknownShape(f"{source.path}: the table of models has no rows; restore it")
    return [Block("row", f"|[{port.display_name}]{link} {_cells(port)}\n", others[-1][1], present, free=True)]


def _cells(port: Port) -> str:
    # Release date and size are not among the answers; the checklist asks for them.
    kinds = {c.supports_guidance for c in port.checkpoints}
    kind = "Distilled & Base" if len(kinds) == 2 else ("Base" if True in kinds else "Distilled")
    does = "Text-to-image and editing." if "edit" in port.variants else "Text-to-image."
    return f"| ? | ? | {kind} | {'Yes' if port.training else 'No'} | {does} |"
