"""The line in the root README that thanks the model's authors."""

from __future__ import annotations

import re

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source

ID = "readme_acknowledgement"
FILE = "README.md"
REQUIRED = False
_BULLET = re.compile(r"^- .+ for the \[.+ project\]\(")


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    owner = port.hf_repo.split("/")[0]
    text = f"- {owner} for the [{port.display_name} project](https://huggingface.co/{port.hf_repo})"
    lines = lines_with_spans(source)
    present = next((span for line, span in lines if _is_ours(line, port)), None)
    bullets = [(line, span) for line, span in lines if _BULLET.match(line) and not _is_ours(line, port)]
    named = any(line.lower().startswith(f"- {owner.lower()} ") for line, _ in bullets)
    if not bullets or (named and present is None):
        return []  # no such section, or the authors are thanked already
    return [Block("acknowledgement", f"{text}\n", bullets[-1][1][1], present, free=True)]


def _is_ours(line: str, port: Port) -> bool:
    # By its address, as the display name may change; or by owner and display name, as the repo may.
    owner = port.hf_repo.split("/")[0]
    begins = line.startswith(f"- {owner} for the [{port.display_name} project](https://huggingface.co/{owner}/")
    return bool(_BULLET.match(line)) and (begins or line.endswith(f" project](https://huggingface.co/{port.hf_repo})"))
