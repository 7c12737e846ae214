"""The line that lets git see the training example, since mflux ignores JSON files."""

from __future__ import annotations

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source

ID = "gitignore"
FILE = ".gitignore"
REQUIRED = False
_EXAMPLES = "!src/mflux/models/common/training/_example/"


def not_applicable(port: Port) -> str | None:
    return None if port.training else "training is off in the answers"


def blocks(source: Source, port: Port) -> list[Block]:
    wanted = f"{_EXAMPLES}train_{port.model}.json"
    lines = lines_with_spans(source)
    present = next((span for line, span in lines if line.strip() == wanted), None)
    anchors = [span[1] for line, span in lines if line.startswith(_EXAMPLES) and line.strip() != wanted]
    anchors = anchors or [span[1] for line, span in lines if line.strip() == "*.json"]
    if not anchors and present is None:
        return []  # this .gitignore does not hide the example
    return [Block(wanted, f"{wanted}\n", anchors[-1] if anchors else len(source.data), present)]
