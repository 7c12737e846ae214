"""One piece of text that a surface puts into a file."""

from __future__ import annotations

from typing import NamedTuple

Span = tuple[int, int]


class Block(NamedTuple):
    """``text`` is the wanted text, ``span`` where it is now (or None), ``at`` where to insert it when it is absent
    (None when the file does not need it). Spans are byte offsets.

    ``name`` identifies the block in reports and in the record. ``rewritten`` is the span of a line that may be this
    block, reworded by hand; it counts only when wiring has inserted the text before. ``orphan``: the answers no longer
    need the text. ``lead`` is inserted before the text, such as a heading, and removed with it while ``span`` includes
    it. It is neither compared nor recorded, because another port may come to share it.
    """

    name: str
    text: str
    at: int | None
    span: Span | None = None
    rewritten: Span | None = None
    orphan: bool = False
    lead: str = ""
