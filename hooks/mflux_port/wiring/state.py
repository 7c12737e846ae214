"""How a port stands in every shared file: which of its texts are there, and whose they are."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checkout import Checkout
from mflux_port.errors import PortError
from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.record import read_record
from mflux_port.wiring.source import Source, UnknownShape, source_of
from mflux_port.wiring.surfaces import SURFACES

ABSENT, PRESENT, STALE, EDITED, NOT_APPLICABLE, UNKNOWN = (
    "absent",
    "present",
    "stale",
    "edited",
    "not applicable",
    "unknown shape",
)
LEFT = "edited by hand, left as it is"


class SurfaceResult(NamedTuple):
    """One surface of one port: its state before (``absent`` … ``unknown shape``) and what is done about it."""

    surface: str
    file: str
    state: str
    detail: str = ""
    action: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.surface:<24}{self.action or self.state}{detail}"


class Found(NamedTuple):
    """One shared file and the port's blocks in it: surface id, block, state."""

    source: Source
    blocks: list[tuple[str, Block, str]]


def inspect(checkout: Checkout, port: Port) -> tuple[list[SurfaceResult], dict[str, Found]]:
    """The state of every surface, and every block of the port per file."""
    record = read_record(checkout, port)
    results: list[SurfaceResult] = []
    found: dict[str, Found] = {}
    for surface in SURFACES:
        file = surface.FILE.format(model=port.model)
        recorded = record.get(surface.ID, {})
        reason = surface.not_applicable(port)
        if reason is None and checkout.read(file) is None and not getattr(surface, "NEW_FILE", False):
            if surface.REQUIRED:
                raise PortError(f"{file} is missing; this is no mflux checkout, or restore the file")
            reason = f"{file} is not there"
        source = source_of(checkout, file)
        try:
            blocks = [] if reason else surface.blocks(source, port)
        except UnknownShape as error:
            results.append(SurfaceResult(surface.ID, file, UNKNOWN, str(error)))
            continue
        blocks = [_found_again(source, block, recorded) for block in blocks]
        states = [(block, _block_state(source, block, recorded)) for block in blocks]
        states += [(block, STALE) for block in _orphans(source, blocks, recorded)]
        here = found.setdefault(file, Found(source, []))
        here.blocks.extend((surface.ID, block, state) for block, state in states)
        results.append(_result(surface.ID, file, states, reason))
    return results, found


def _result(surface: str, file: str, states: list[tuple[Block, str]], reason: str | None) -> SurfaceResult:
    if not states:
        return SurfaceResult(surface, file, NOT_APPLICABLE, reason or "nothing to say there")
    edited = ", ".join(block.name for block, state in states if state == EDITED)
    for wanted in (ABSENT, STALE):
        named = ", ".join(block.name for block, state in states if state == wanted)
        if named:
            return SurfaceResult(surface, file, wanted, f"{named}; {LEFT}: {edited}" if edited else named)
    return SurfaceResult(surface, file, EDITED if edited else PRESENT, edited)


def _block_state(source: Source, block: Block, recorded: dict[str, str]) -> str:
    if block.span is None:
        return ABSENT
    text = source.text(block.span)
    if _same(text, block.text):
        return PRESENT
    ours = recorded.get(block.name)
    return STALE if ours is not None and _same(text, ours) else EDITED


def _found_again(source: Source, block: Block, recorded: dict[str, str]) -> Block:
    # What the surface does not know any more, since its names come from older answers.
    span = None if block.span else _recorded_span(source, recorded.get(block.name, ""))
    return block._replace(span=span) if span else block


def _orphans(source: Source, blocks: list[Block], recorded: dict[str, str]) -> list[Block]:
    made = []
    for name in sorted(set(recorded) - {block.name for block in blocks}):
        span = _recorded_span(source, recorded[name])
        if span:
            made.append(Block(name, "", span[0], span, orphan=True))
    return made


def _recorded_span(source: Source, text: str) -> tuple[int, int] | None:
    # Text that wiring put in under older answers, still there word for word.
    data = source.encode(text)
    if not data.strip() or source.data.count(data) != 1:
        return None
    start = source.data.index(data)
    return start, start + len(data)


def _same(left: str, right: str) -> bool:
    # The last line's missing newline and the last entry's missing comma are nobody's edit of the entry.
    return left.strip("\n").strip().strip(",") == right.strip("\n").strip().strip(",")
