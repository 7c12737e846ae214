"""The merge of one file, without Copier and git trees: for any edits of both sides, each is in the result or a
conflict.
"""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mflux_port.update import merge
from mflux_port.update.lost_edits import lost_edits
from mflux_port.update.merge import NOT_PROVEN, NOT_TEXT, REMOVED, Outcome, merge_file, merge_files

from tests.update.git_settings import SETTINGS

BASE = b"".join(b"line %d\n" % number for number in range(12))


def test_unedited_file_gets_the_templates_text():
    assert merge_file(BASE, BASE, b"new\n") == Outcome(b"new\n")
    assert merge_file(BASE, BASE, None) == Outcome(None)
    assert merge_file(None, None, b"new\n") == Outcome(b"new\n")


def test_file_that_the_template_did_not_change_stays():
    assert merge_file(b"mine\n", BASE, BASE) == Outcome(b"mine\n")
    assert merge_file(None, BASE, b"new\n") == Outcome(None)
    assert merge_file(b"mine\n", None, None) == Outcome(b"mine\n")


def test_file_that_cannot_be_merged_stays_and_is_named():
    assert merge_file(b"mine\n", BASE, None) == Outcome(b"mine\n", True, REMOVED)
    assert merge_file(b"\0", BASE, b"new\n") == Outcome(b"\0", True, NOT_TEXT)


def test_two_edits_of_one_line_are_both_kept():
    mine, theirs = BASE.replace(b"line 5", b"mine"), BASE.replace(b"line 5", b"theirs")
    outcome = merge_file(mine, BASE, theirs)
    assert outcome.conflict and outcome.why == ""
    assert b"<<<<<<< before updating\nmine\n" in outcome.text and b"theirs\n>>>>>>> after updating\n" in outcome.text


def test_file_that_both_sides_added():
    outcome = merge_file(b"mine\n", None, b"theirs\n")
    assert outcome.conflict and b"mine\n" in outcome.text and b"theirs\n" in outcome.text


def test_crlf_files_merge_line_by_line_and_keep_their_endings():
    mine = b"mine\n" + BASE
    outcome = merge_file(mine.replace(b"\n", b"\r\n"), BASE, BASE + b"theirs\n")
    assert outcome == Outcome((mine + b"theirs\n").replace(b"\n", b"\r\n"))
    added = merge_files({"a": mine.replace(b"\n", b"\r\n")}, {"a": BASE}, {"a": BASE, "b": b"new\n"}, ["a", "b"])
    assert added == {"b": Outcome(b"new\r\n")}


def test_mixed_line_endings_stay_as_they_are():
    mine = BASE.replace(b"line 3\n", b"line 3\r\n")
    assert merge_file(mine, BASE, BASE + b"theirs\n") == Outcome(mine + b"theirs\n")


@pytest.mark.parametrize(
    "wrong",
    [BASE + b"theirs\n", b"mine\n" + BASE, b"mine\n" + BASE.replace(b"line 3\n", b"line 3\nline 6\n") + b"theirs\n"],
    ids=["the porter's line is gone", "the template's line is gone", "a deleted line is back"],
)
def test_merge_that_loses_an_edit_is_rejected(wrong):
    mine = b"mine\n" + BASE.replace(b"line 6\n", b"")
    with patch.object(merge, "merge_texts", lambda *texts: (wrong, True)):
        assert merge_file(mine, BASE, BASE + b"theirs\n") == Outcome(mine, True, NOT_PROVEN)


def test_a_line_that_the_template_moved_is_not_lost():
    mine = BASE.replace(b"line 6\n", b"")
    theirs = BASE.replace(b"line 6\n", b"") + b"line 6\n"
    assert lost_edits(mine, BASE, theirs, theirs, True) == []


# ------------------------------------------------------------------------------------------------- random edits

# As in real code, most lines occur once and some often.
LINE = st.one_of(st.integers(0, 30).map(lambda number: b"line %d" % number), st.sampled_from([b"", b"    )", b"]"]))
EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "delete"]), st.floats(0, 1), st.integers(1, 3)), max_size=6
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


def edited(lines: list[bytes], edits: list, who: bytes) -> list[bytes]:
    """The lines with each edit's own words in them."""
    lines = list(lines)
    for number, (kind, where, count) in enumerate(edits):
        at = int(where * len(lines))
        new = [b"%s %d.%d" % (who, number, part) for part in range(count)]
        lines[at : at + (0 if kind == "insert" else count)] = [] if kind == "delete" else new
    return lines


def joined(lines: list[bytes], end: bytes, last: bool) -> bytes:
    return end.join(lines) + (end if last else b"")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINE, min_size=1, max_size=40),
    ours=EDITS,
    theirs=EDITS,
    end=ENDS,
    last=st.tuples(st.booleans(), st.booleans()),
    setting=st.sampled_from(SETTINGS),
)
def test_each_edit_is_in_the_result_or_in_a_conflict(tmp_path, lines, ours, theirs, end, last, setting):
    base, mine, new = joined(lines, b"\n", True), edited(lines, ours, b"mine"), edited(lines, theirs, b"theirs")
    (home := tmp_path / "home").mkdir(exist_ok=True)
    with patch.dict(os.environ, setting.environment(home)):
        outcome = merge_file(joined(mine, end, last[0]), base, joined(new, b"\n", last[1]))
    result = outcome.text.replace(b"\r\n", b"\n").split(b"\n")
    assert outcome.why == "", outcome
    assert [line for line in mine if line.startswith(b"mine") and line not in result] == []
    assert [line for line in new if line.startswith(b"theirs") and line not in result] == []
    once = [line for line in set(lines) if line and lines.count(line) == 1]
    if not outcome.conflict:  # then only lines that a side deleted are gone
        gone = {line for line in once if line not in mine or line not in new}
        assert {line for line in once if line not in result} == gone
        assert not any(line.startswith((b"<<<<<<<", b">>>>>>>")) for line in result)
    if not ours and last[0]:
        assert outcome.text.replace(b"\r\n", b"\n") == joined(new, b"\n", last[1])
