"""The state of a port in every shared file: which of its texts are there, and which of them were edited."""

from __future__ import annotations

import re
from typing import NamedTuple

from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.wiring.block import Block, Span
from mflux_port.wiring.ownership import own_part
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
DELETED = "deleted"  # a block that wiring inserted and that has been removed; the state of its surface is ``absent``


class SurfaceResult(NamedTuple):
    """The state of one surface of one port before the run (``absent`` … ``unknown shape``), and what the run does about
    it.

    ``put_back`` names the texts of the port that were deleted by hand and are inserted again.
    """

    surface: str
    file: str
    state: str
    detail: str = ""
    action: str = ""
    put_back: tuple[str, ...] = ()

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.surface:<24}{self.action or self.state}{detail}"


class Found(NamedTuple):
    """One shared file with the port's blocks in it, each as surface id, block and state."""

    source: Source
    blocks: list[tuple[str, Block, str]]


def inspect(checkout: Checkout, port: Port) -> tuple[list[SurfaceResult], dict[str, Found]]:
    """The state of every surface, and the port's blocks per file, without those of checkpoints of another model."""
    record = read_record(checkout, port)
    own, foreign = own_part(checkout, port)
    results: list[SurfaceResult] = []
    found: dict[str, Found] = {}
    for surface in SURFACES:
        file = surface.FILE.format(model=port.model)
        source = source_of(checkout, file)
        reason = _reason(checkout, surface, own)
        if foreign and not own.checkpoints and not record:
            reason = f"{', '.join(foreign)} belongs to another model"
        recorded = record.get(surface.ID, {})
        try:
            blocks = [] if reason else surface.blocks(source, own)
        except UnknownShape as error:
            results.append(SurfaceResult(surface.ID, file, UNKNOWN, str(error)))
            continue
        states = _states(source, blocks, recorded)
        here = found.setdefault(file, Found(source, []))
        here.blocks.extend((surface.ID, block, state) for block, state in states)
        results.append(_result(surface.ID, file, states, reason))
    return results, found


def _reason(checkout: Checkout, surface, port: Port) -> str | None:
    # The reason why a surface does not apply to this port or checkout.
    file = surface.FILE.format(model=port.model)
    reason = surface.not_applicable(port)
    if reason is None and checkout.read(file) is None and not getattr(surface, "NEW_FILE", False):
        if surface.REQUIRED:
            raise PortError(f"{file} is missing; restore it, or run this in an mflux checkout")
        reason = f"{file} does not exist"
    return reason


def _result(surface: str, file: str, states: list[tuple[Block, str]], reason: str | None) -> SurfaceResult:
    if not states:
        return SurfaceResult(surface, file, NOT_APPLICABLE, reason or "nothing to add there")
    named = {state: ", ".join(block.name for block, found in states if found == state) for _, state in states}
    absent = ", ".join(named[state] for state in (ABSENT, DELETED) if state in named)
    edited = f"; {EDITED} by hand: {named[EDITED]}" if EDITED in named else ""
    if absent:
        return SurfaceResult(surface, file, ABSENT, absent + edited)
    if STALE in named:
        return SurfaceResult(surface, file, STALE, named[STALE] + edited)
    return SurfaceResult(surface, file, EDITED if edited else PRESENT, named.get(EDITED, ""))


def _states(source: Source, blocks: list[Block], recorded: dict[str, str]) -> list[tuple[Block, str]]:
    taken = [block.span for block in blocks if block.span]
    found = [_found_again(source, block, recorded.get(block.name), taken) for block in blocks]
    states = [(block, _block_state(source, block, recorded.get(block.name), taken)) for block in found]
    taken = [block.span for block in found if block.span]
    states = [(block, state) for block, state in states if block.at is not None or state not in (ABSENT, DELETED)]
    return states + _orphans(
        source, {name: recorded[name] for name in recorded.keys() - {b.name for b in blocks}}, taken
    )


def _found_again(source: Source, block: Block, ours: str | None, taken: list[Span]) -> Block:
    # The answers have changed the text that the surface looks for, and the text from the older answers is still there.
    if block.span or ours is None or _same(ours, block.text):
        return block
    spans = _existing_block(source, ours, taken)
    return block._replace(span=spans[0]) if len(spans) == 1 else block


def _block_state(source: Source, block: Block, ours: str | None, taken: list[Span]) -> str:
    if block.orphan:
        return STALE
    if block.span is None:
        if ours is None:
            return ABSENT
        return EDITED if block.rewritten or _existing_block(source, ours, taken) else DELETED
    text = source.text(block.span).removeprefix(block.lead)
    if _same(text, block.text):
        return PRESENT
    return STALE if ours is not None and _same(text, ours) else EDITED


def _orphans(source: Source, left: dict[str, str], taken: list[Span]) -> list[tuple[Block, str]]:
    # Texts that wiring inserted for older answers: unchanged, edited, or gone.
    spans = {name: _existing_block(source, left[name], taken) for name in sorted(left)}
    taken = taken + [span for found in spans.values() for span in found]
    blocks = []
    for name, found in spans.items():
        if len(found) == 1:
            blocks.append((Block(name, "", None, found[0], orphan=True), STALE))
        elif found or _is_named(source, name, taken):
            blocks.append((Block(name, "", None, orphan=True), EDITED))
    return blocks


def _existing_block(source: Source, text: str, taken: list[Span]) -> list[Span]:
    # The places where the text has whole lines, outside ``taken``.
    wanted = source.encode(text)
    data = source.data if source.data.endswith(b"\n") else source.data + source.encode("\n")  # the last line counts too
    spans = []
    start = data.find(wanted) if wanted.strip() else -1
    while start >= 0:
        span = (start, min(start + len(wanted), len(source.data)))
        before = data[data.rfind(b"\n", 0, start) + 1 : start]
        whole = not before or (not before.strip().removeprefix(b"el") and not wanted[:1].isspace())
        if whole and not _overlaps(span, taken):
            spans.append(span)
        start = data.find(wanted, start + 1)
    return spans


def _is_named(source: Source, name: str, taken: list[Span]) -> bool:
    # In code, the last word of a block's name occurs in its text. A JSON file belongs to the port as a whole.
    if not source.path.endswith((".py", ".toml")):
        return source.path.endswith(".json") and bool(source.data)
    word = re.escape(name.split()[-1].encode())
    places = re.finditer(rb"(?<![\w./-])%b(?![\w./-])" % word, source.data)
    return any(not _overlaps(place.span(), taken) for place in places)


def _overlaps(span: Span, taken: list[Span]) -> bool:
    return any(span[0] < stop and start < span[1] for start, stop in taken)


def _same(left: str, right: str) -> bool:
    # A missing final newline, or a missing comma after the last entry, is not an edit of the entry.
    return left.strip("\n").strip().strip(",") == right.strip("\n").strip().strip(",")
