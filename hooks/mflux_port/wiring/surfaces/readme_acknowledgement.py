"""The line in the root README that thanks the model's authors."""

from __future__ import annotations

import re

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source

ID = "readme_acknowledgement"
FILE = "README.md"
REQUIRED = False
_BULLET = re.compile(r"^- (.+) for the \[.+ project\]\((.*)")


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    owner = port.hf_repo.split("/")[0]
    text = f"- {owner} for the [{port.display_name} project](https://huggingface.co/{port.hf_repo})\n"
    bullets = [(line, span) for line, span in lines_with_spans(source) if _BULLET.match(line)]
    # Recognised by its address, because the display name may change.
    present = [span for line, span in bullets if line.endswith(f" project](https://huggingface.co/{port.hf_repo})")]
    others = [(line, span) for line, span in bullets if span not in present]
    rewritten = next((span for line, span in others if f"[{port.display_name} project](" in line), None)
    named = any(_thanks(line, owner) for line, _ in others)
    if not bullets:
        return []  # the README has no such section
    at = None if named or rewritten or not others else others[-1][1][1]  # None: the README thanks the authors already
    return [Block("acknowledgement", text, at, present[0] if present else None, rewritten)]


def _thanks(line: str, owner: str) -> bool:
    # People write names differently: "Black Forest Labs" is black-forest-labs. The address often has the name, too.
    names, address = _BULLET.match(line).groups()
    wanted = _letters(owner)
    return wanted in {_letters(name) for name in re.split(r",| and ", names)} or f"/{owner.lower()}/" in address.lower()


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
