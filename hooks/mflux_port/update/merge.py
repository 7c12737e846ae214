"""Merge an update file by file: the porter's text, what the template rendered before, and what it renders now.

Texts in, outcomes out: nothing here uses Copier or writes into the checkout. No edit is lost: it is in the outcome's
text, or the outcome is a conflict that keeps the file as the porter left it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mflux_port.checkout.git import merge_texts
from mflux_port.update.lost_edits import lost_edits
from mflux_port.update.renderings import lf

REMOVED = "you edited it, and the template no longer has it"
NOT_TEXT = "it is not text here, so the template's change could not be merged"
NOT_PROVEN = "the merge would lose your edit, so your version of the file is kept"


class Outcome(NamedTuple):
    """The result for one file. ``text`` is None when it is deleted.

    ``why`` is set for a conflict without markers: the file stays as it was, for that reason.
    """

    text: bytes | None
    conflict: bool = False
    why: str = ""


def merge_files(
    mine: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes], names: Iterable[str]
) -> dict[str, Outcome]:
    """The outcomes of the files ``names`` that change or are conflicts."""
    outcomes = {}
    windows = sum(_crlf(text) for text in mine.values()) > len(mine) / 2
    for name in names:
        outcome = merge_file(mine.get(name), old.get(name), new.get(name))
        if name not in mine and outcome.text and windows:
            outcome = Outcome(outcome.text.replace(b"\n", b"\r\n"))
        if outcome.conflict or outcome.text != mine.get(name):
            outcomes[name] = outcome
    return outcomes


def merge_file(mine: bytes | None, base: bytes | None, theirs: bytes | None) -> Outcome:
    """Merge one file: as the porter has it, as it was rendered, and as it is rendered now. None: it does not exist."""
    if mine is None:
        # A file that the porter deleted stays deleted.
        return Outcome(theirs if base is None else None)
    ours = lf(mine) if _crlf(mine) else mine
    if base == theirs or ours == theirs:
        return Outcome(mine)
    if ours == base:
        return Outcome(_like(mine, theirs))
    if theirs is None:
        return Outcome(mine) if base is None else Outcome(mine, True, REMOVED)
    if b"\0" in mine + theirs:
        return Outcome(mine, True, NOT_TEXT)
    merged, clean = merge_texts(ours, base or b"", theirs)
    if lost_edits(ours, base or b"", theirs, merged, clean):
        return Outcome(mine, True, NOT_PROVEN)
    return Outcome(_like(mine, merged), not clean)


def _crlf(text: bytes) -> bool:
    # In a file with both kinds of line endings, each line keeps the porter's.
    return 0 < text.count(b"\r\n") == text.count(b"\n")


def _like(mine: bytes, text: bytes | None) -> bytes | None:
    return text.replace(b"\n", b"\r\n") if text is not None and _crlf(mine) else text
