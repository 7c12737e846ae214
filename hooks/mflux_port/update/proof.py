"""Proof that a merge lost no edit, by comparing texts: no exit code is trusted."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher


def lost_edits(mine: bytes, base: bytes, theirs: bytes, merged: bytes, clean: bool) -> list[bytes]:
    """The lines that one side added and the merge lacks, and those that the porter deleted and the merge has again.

    ``clean``: there are no conflict markers in ``merged``, whose parts show what was deleted. Empty for a faithful merge. A
    deleted line that the template moved at the same time counts as the template's.
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
    # Without line endings: the last line may gain or lose one.
    return text.split(b"\n")
