"""One piece of text that a surface puts into a file."""

from __future__ import annotations

from typing import NamedTuple  # a dataclass would cost every run 10 ms


class Block(NamedTuple):
    """``text`` as it should stand, ``span`` where it stands now (or None), ``at`` where it goes when it is absent.

    ``name`` is what a person calls it, ``free`` means that the porter is expected to edit the text, ``orphan`` that the
    answers have no use for it any more.
    """

    name: str
    text: str
    at: int
    span: tuple[int, int] | None = None
    free: bool = False
    orphan: bool = False
