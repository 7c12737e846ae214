"""Plan what becomes of every shared file, in memory. Nothing here writes."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checkout import Checkout
from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.record import encode_record, read_record, record_path
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.state import ABSENT, EDITED, LEFT, PRESENT, STALE, UNKNOWN, Found, SurfaceResult, inspect
from mflux_port.wiring.verification import verify

_WIRED = {ABSENT: "added", STALE: "brought up to date", EDITED: LEFT}
_UNWIRED = {PRESENT: "removed", STALE: "removed", EDITED: LEFT}

Edit = tuple[tuple[int, int], bytes]


class Plan(NamedTuple):
    """New bytes per file (None removes the file), and a result per surface."""

    results: list[SurfaceResult]
    files: dict[str, bytes | None]


def plan_wire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``wire`` writes. Raises UnknownShape for a file that it cannot read."""
    plan, found = _begin(checkout, port, _WIRED)
    for file, here in found.items():
        edits = [
            (block.span or (block.at, block.at), here.source.encode(_joined(here.source, block)))
            for _, block, state in here.blocks
            if state in (ABSENT, STALE)
        ]
        _apply(plan, file, here, edits)
    encoded = encode_record(_kept(found, read_record(checkout, port)))
    if encoded != checkout.read(record_path(port)):
        plan.files[record_path(port)] = encoded
    verify(checkout, plan.files, port, wired=True, edited=_edited(found))
    return plan


def plan_unwire(checkout: Checkout, port: Port) -> Plan:
    """Everything that ``unwire`` writes: the port's own text goes, edited text stays and is reported."""
    plan, found = _begin(checkout, port, _UNWIRED)
    for file, here in found.items():
        edits = [(block.span, b"") for _, block, state in here.blocks if state in (PRESENT, STALE)]
        _apply(plan, file, here, edits)
    if checkout.read(record_path(port)) is not None:
        plan.files[record_path(port)] = None
    verify(checkout, plan.files, port, wired=False, edited=_edited(found))
    return plan


def _begin(checkout: Checkout, port: Port, actions: dict[str, str]) -> tuple[Plan, dict[str, Found]]:
    results, found = inspect(checkout, port)
    unknown = next((result for result in results if result.state == UNKNOWN), None)
    if unknown:
        raise UnknownShape(unknown.detail)
    return Plan([result._replace(action=actions.get(result.state, "")) for result in results], {}), found


def _kept(found: dict[str, Found], record: dict) -> dict[str, dict[str, str]]:
    # What is ours. Somebody's own text is never written down as ours: the next run would replace it.
    kept: dict[str, dict[str, str]] = {}
    for here in found.values():
        for surface, block, state in here.blocks:
            ours = record.get(surface, {}).get(block.name, block.text) if state == EDITED else block.text
            if not block.orphan:
                kept.setdefault(surface, {})[block.name] = ours
    return kept


def _edited(found: dict[str, Found]) -> set[str]:
    return {surface for here in found.values() for surface, _, state in here.blocks if state == EDITED}


def _joined(source: Source, block: Block) -> str:
    # Behind a last line without a newline, the new line starts with one instead. What stands last in such a file ends so.
    last = (block.span[1] if block.span else block.at) == len(source.data)
    if not last or not source.data or source.data.endswith(b"\n"):
        return block.text
    return ("" if block.span else "\n") + block.text.removesuffix("\n")


def _apply(plan: Plan, file: str, here: Found, edits: list[Edit]) -> None:
    data = here.source.data
    # From the back, so that offsets stay true; what goes to the same place keeps its order.
    for span, text in reversed(_merged(here.source, edits)):
        data = data[: span[0]] + text + data[span[1] :]
    if data != here.source.data:
        created = all(block.span == (0, len(here.source.data)) for _, block, _ in here.blocks)
        plan.files[file] = data if data or not created else None


def _merged(source: Source, edits: list[Edit]) -> list[Edit]:
    # Neighbouring removals become one; the newline before a last line without one goes with that line.
    merged: list[Edit] = []
    for (start, stop), text in sorted(edits, key=lambda edit: edit[0]):
        if merged and not text and not merged[-1][1] and start <= merged[-1][0][1] and stop > start:
            merged[-1] = ((merged[-1][0][0], max(stop, merged[-1][0][1])), b"")
        elif merged and start < merged[-1][0][1]:
            line = source.data.count(b"\n", 0, start) + 1
            raise UnknownShape(
                f"{source.path} line {line}: two texts of the port overlap; put each on lines of its own"
            )
        else:
            merged.append(((start, stop), text))
    if merged and not merged[-1][1] and merged[-1][0] != (0, len(source.data)):
        (start, stop), _ = merged[-1]
        if stop == len(source.data) and not source.data.endswith(b"\n"):
            before = source.data[:start]
            merged[-1] = ((len(before.removesuffix(b"\n").removesuffix(b"\r")), stop), b"")
    return merged
