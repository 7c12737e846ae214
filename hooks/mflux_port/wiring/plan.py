"""Plan the changes of all shared files in memory. This module writes no file."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import NamedTuple

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

# The actions on a block, in the order in which a report lists them.
_PUT_BACK = "restored after it was deleted there"
_ADDED = "added"
_RENEWED = "updated"
_REMOVED = "removed"
_WRITING = (_PUT_BACK, _ADDED, _RENEWED, _REMOVED)
_LEFT = "edited by hand, left as it is"
_NEEDED = "left, because other lines there use it"
_MISSING = "not there"
_WHAT = (*_WRITING, _LEFT, _NEEDED, _MISSING)
_NOTHING = ""


class BlockEdit(NamedTuple):
    """The action on one block in a given state."""

    surface: str
    block: Block
    state: str
    what: str


class Plan(NamedTuple):
    """A result per surface, new bytes per file (None removes the file), and the bytes that they were computed from."""

    results: list[SurfaceResult]
    files: dict[str, bytes | None]
    originals: dict[str, bytes | None]


def plan_wire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``wire`` writes. Raises UnknownShape for a file with an unknown layout."""
    return _plan(checkout, port, _wiring)


def plan_unwire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``unwire`` writes: the port's own text is removed, edited text stays and is reported."""
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
    edits: list[BlockEdit] = []
    files: dict[str, bytes | None] = {}
    for file, here in found.items():
        edits_here = _block_edits(here, choose)
        edits += edits_here
        data = spliced(here.source, [_edit(here.source, edit) for edit in edits_here if edit.what in _WRITING])
        if data != here.source.data:
            created = all(block.span == (0, len(here.source.data)) for _, block, _ in here.blocks)
            files[file] = data if data or not created else None
    before = checkout.read(record_path(port))
    record = encode_record(_recorded(edits, read_record(checkout, port)), before) if wired else None
    if record != before:
        files[record_path(port)] = record
    verify(checkout, files, port, wired, {edit.surface for edit in edits if edit.state == EDITED})
    originals = {file: checkout.read(file) for file in files}
    return Plan([_reported(result, edits) for result in results], files, originals)


def _block_edits(here: Found, choose: Callable[[Block, str], str]) -> list[BlockEdit]:
    # An import stays while other code uses it. Updated blocks do not count as other code: their imports are blocks too.
    edits = [BlockEdit(surface, block, state, choose(block, state)) for surface, block, state in here.blocks]
    replaced = [edit.block.span for edit in edits if edit.what in (_REMOVED, _RENEWED)]
    return [
        edit._replace(what=_NEEDED) if edit.what == _REMOVED and _is_used(here.source, edit.block, replaced) else edit
        for edit in edits
    ]


def _is_used(source: Source, block: Block, replaced: list[Span]) -> bool:
    name = imported_name(block.name)
    return name is not None and any(
        isinstance(node, ast.Name)
        and node.id == name
        and not any(start <= source.start(node) < stop for start, stop in replaced)
        for node in ast.walk(source.tree)
    )


def _reported(result: SurfaceResult, edits: list[BlockEdit]) -> SurfaceResult:
    # The report is made from the edits themselves, so that it cannot differ from them.
    own = [edit for edit in edits if edit.surface == result.surface]
    named = {what: [edit.block.name for edit in own if edit.what == what] for what in _WHAT}
    parts = [(what, ", ".join(named[what])) for what in _WHAT if named[what]]
    if not parts or parts[0][0] == _MISSING:
        return result
    (action, detail), *rest = parts
    detail = "; ".join([detail, *(f"{what}: {names}" for what, names in rest)])
    return result._replace(action=action, detail=detail, put_back=tuple(named[_PUT_BACK]))


def _recorded(edits: list[BlockEdit], record: dict) -> dict[str, dict[str, str]]:
    # Record only wiring's own texts. If an edited text were recorded, the next run would replace it.
    texts: dict[str, dict[str, str]] = {}
    for edit in edits:
        block, text = edit.block, edit.block.text
        if edit.state == EDITED or edit.what == _NEEDED:
            text = record.get(edit.surface, {}).get(block.name, block.text)
        if text and edit.what != _REMOVED:
            texts.setdefault(edit.surface, {})[block.name] = text
    return texts


def _edit(source: Source, edit: BlockEdit) -> Edit:
    block = edit.block
    if edit.what == _REMOVED:
        return block.span, b""
    return block.span or (block.at, block.at), source.encode(block.lead + _joined(source, block))


def _joined(source: Source, block: Block) -> str:
    # After a last line without a newline, a new line starts with one instead of ending in one.
    last = (block.span[1] if block.span else block.at) == len(source.data)
    if not last or not source.data or source.data.endswith(b"\n"):
        return block.text
    return ("" if block.span else "\n") + block.text.removesuffix("\n")
