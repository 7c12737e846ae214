"""One piece of text that a surface puts into a file."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """``text`` as it should stand, ``span`` where it stands now (or None), ``at`` where it goes when it is absent
    (None when the file does well without it).

    ``name`` is what a person calls it. ``rewritten`` is where a line stands that may be this one in somebody's own words:
    it counts when wiring has put the text in before. ``orphan`` means that the answers have no use for it any more.
    """

    name: str
    text: str
    at: int | None
    span: Span | None = None
    rewritten: Span | None = None
    orphan: bool = False
