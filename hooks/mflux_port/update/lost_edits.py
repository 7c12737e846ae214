"""Prove that a merge lost no edit, by comparing texts: an exit code is not enough."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher


def lost_edits(mine: bytes, base: bytes, theirs: bytes, merged: bytes, clean: bool) -> list[bytes]:
    """The added lines that the merge lost, and the lines that the porter deleted and the merge brought back.

    ``clean``: ``merged`` has no conflict markers (between them, deleted lines stay visible). Empty if the merge lost
    nothing. A deleted line that the template moved at the same time counts as the template's.
    """
    before, ours, after, result = (Counter(_lines(text)) for text in (base, mine, theirs, merged))
    lost = [line for line in ours if ours[line] > before[line] and line not in result]
    lost += [line for line in after if after[line] > before[line] and line not in result]
    if clean:
        deleted = [line for line in before if line not in ours and line in result]
        lost += [line for line in deleted if line not in _added(base, theirs)] if deleted else []
    return lost


def _added(base: bytes, theirs: bytes) -> set[bytes]:
    before, after = _lines(base), _lines(theirs)
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return {line for kind, _, _, start, end in blocks if kind != "equal" for line in after[start:end]}


def _lines(text: bytes) -> list[bytes]:
    # Compare without line endings: the last line may gain or lose one.
    return text.split(b"\n")
