"""Plan what becomes of every shared file, in memory. Nothing here writes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace

from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port
from mflux_port.wiring.block import Block, Span
from mflux_port.wiring.imports import imported_name
from mflux_port.wiring.record import encode_record, read_record, record_path
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.splicing import Edit, spliced
from mflux_port.wiring.state import (
    ABSENT,
    DELETED,
    EDITED,
    PRESENT,
    STALE,
    UNKNOWN,
    Found,
    SurfaceResult,
    inspect,
)
from mflux_port.wiring.verification import verify

# What is done about a block, in the order in which a report tells it.
_PUT_BACK = "put back what was deleted there"
_ADDED = "added"
_RENEWED = "brought up to date"
_REMOVED = "removed"
_WRITING = (_PUT_BACK, _ADDED, _RENEWED, _REMOVED)
_LEFT = "edited by hand, left as it is"
_NEEDED = "left, since other lines there use it"
_MISSING = "not there"
_WHAT = (*_WRITING, _LEFT, _NEEDED, _MISSING)
_NOTHING = ""


@dataclass(frozen=True)
class BlockEdit:
    """What is done about one block that was found in a state."""

    surface: str
    block: Block
    state: str
    what: str


@dataclass(frozen=True)
class Plan:
    """New bytes per file (None removes the file), the bytes they were made from, and a result per surface."""

    results: list[SurfaceResult]
    files: dict[str, bytes | None]
    originals: dict[str, bytes | None]


def plan_wire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``wire`` writes. Raises UnknownShape for a file that it cannot read."""
    return _plan(checkout, port, _wiring)


def plan_unwire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``unwire`` writes: the port's own text goes, edited text stays and is reported."""
    return _plan(checkout, port, _unwiring)


def _wiring(block: Block, state: str) -> str:
    if state == STALE:
        return _REMOVED if block.orphan else _RENEWED
    return {ABSENT: _ADDED, DELETED: _PUT_BACK, EDITED: _LEFT, PRESENT: _NOTHING}[state]


def _unwiring(block: Block, state: str) -> str:
    return {ABSENT: _MISSING, DELETED: _MISSING, EDITED: _LEFT, PRESENT: _REMOVED, STALE: _REMOVED}[state]


def _plan(checkout: Checkout, port: Port, choose: Callable[[Block, str], str]) -> Plan:
    results, found = inspect(checkout, port)
    unknown = next((result for result in results if result.state == UNKNOWN), None)
    if unknown:
        raise UnknownShape(unknown.detail)
    wired = choose is _wiring
    deeds: list[BlockEdit] = []
    files: dict[str, bytes | None] = {}
    for file, here in found.items():
        done = _deeds(here, choose)
        deeds += done
        data = spliced(here.source, [_edit(here.source, deed) for deed in done if deed.what in _WRITING])
        if data != here.source.data:
            created = all(block.span == (0, len(here.source.data)) for _, block, _ in here.blocks)
            files[file] = data if data or not created else None
    record = encode_record(_recorded(deeds, read_record(checkout, port))) if wired else None
    if record != checkout.read(record_path(port)):
        files[record_path(port)] = record
    verify(checkout, files, port, wired, {deed.surface for deed in deeds if deed.state == EDITED})
    originals = {file: checkout.read(file) for file in files}
    return Plan([_reported(result, deeds) for result in results], files, originals)


def _deeds(here: Found, choose: Callable[[Block, str], str]) -> list[BlockEdit]:
    # An import stays while something that stays uses it; what is brought up to date has its imports among the blocks.
    deeds = [BlockEdit(surface, block, state, choose(block, state)) for surface, block, state in here.blocks]
    going = [deed.block.span for deed in deeds if deed.what in (_REMOVED, _RENEWED)]
    return [
        replace(deed, what=_NEEDED) if deed.what == _REMOVED and _is_used(here.source, deed.block, going) else deed
        for deed in deeds
    ]


def _is_used(source: Source, block: Block, going: list[Span]) -> bool:
    name = imported_name(block.name)
    return name is not None and any(
        isinstance(node, ast.Name)
        and node.id == name
        and not any(start <= source.start(node) < stop for start, stop in going)
        for node in ast.walk(source.tree)
    )


def _reported(result: SurfaceResult, deeds: list[BlockEdit]) -> SurfaceResult:
    # From what is done about each block, so that the report says nothing else.
    own = [deed for deed in deeds if deed.surface == result.surface]
    named = {what: [deed.block.name for deed in own if deed.what == what] for what in _WHAT}
    told = [(what, ", ".join(named[what])) for what in _WHAT if named[what]]
    if not told or told[0][0] == _MISSING:
        return result
    (action, detail), *rest = told
    detail = "; ".join([detail, *(f"{what}: {names}" for what, names in rest)])
    return replace(result, action=action, detail=detail, put_back=tuple(named[_PUT_BACK]))


def _recorded(deeds: list[BlockEdit], record: dict) -> dict[str, dict[str, str]]:
    # What is ours. Somebody's own text is never written down as ours: the next run would replace it.
    kept: dict[str, dict[str, str]] = {}
    for deed in deeds:
        block, text = deed.block, deed.block.text
        if deed.state == EDITED or deed.what == _NEEDED:
            text = record.get(deed.surface, {}).get(block.name, block.text)
        if text and deed.what != _REMOVED:
            kept.setdefault(deed.surface, {})[block.name] = text
    return kept


def _edit(source: Source, deed: BlockEdit) -> Edit:
    block = deed.block
    if deed.what == _REMOVED:
        return block.span, b""
    return block.span or (block.at, block.at), source.encode(_joined(source, block))


def _joined(source: Source, block: Block) -> str:
    # Behind a last line without a newline, the new line starts with one instead. What stands last in such a file ends so.
    last = (block.span[1] if block.span else block.at) == len(source.data)
    if not last or not source.data or source.data.endswith(b"\n"):
        return block.text
    return ("" if block.span else "\n") + block.text.removesuffix("\n")
