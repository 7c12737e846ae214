"""Random edits of a porter and of the template, under random settings of git, in a whole port: none is lost.

``test_merge.py`` does the same to single files.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from mflux_port.template.project import is_owned, owned_paths
from mflux_port.update.merge import REMOVED
from mflux_port.update.renderings import Renderings
from mflux_port.update.tree import end

from tests.update.git_settings import SETTINGS
from tests.update.template_versions import git, releases

ROUNDS = int(os.environ.get("EDIT_ROUNDS", "12"))  # with as many rounds as settings, each setting is used once
EDITS = 50  # at least this many in each round, on both sides together
STRIDE = 37  # neighbours in the list of settings are similar
# The class name stays, because an update recognises a renamed port by it.
KEPT = "class "


class Edits:
    """The edits of one side, by file: words that occur nowhere else."""

    def __init__(self, seed: int, who: str):
        self.random, self.who = random.Random(f"{seed} {who}"), who
        self.words: dict[str, list[str]] = {}

    def edit(self, name: str, text: str) -> str:
        """The text with one to three edits, each at any line."""
        lines = text.splitlines(keepends=True)
        for number in range(self.random.randint(1, 3)):
            at = self.random.randint(0, len(lines))
            replaced = lines[at : at + self.random.choice([0, 0, 1, 3])]
            word = f"# {self.who} {name} {number}\n"
            lines[at : at + len(replaced)] = [*(line for line in replaced if line.startswith(KEPT)), word]
            self.words.setdefault(name, []).append(word)
        self.words[name] = [word for word in self.words[name] if word in lines]
        return "".join(lines)

    def some(self, names: list[str], part: float) -> set[str]:
        return set(self.random.sample(names, round(len(names) * part)))


@pytest.fixture(scope="module")
def root(small, tmp_path_factory) -> Path:
    """The port of ``small`` before anybody edited it."""
    root = tmp_path_factory.mktemp("edits") / "mflux"
    git(small.root, "clone", "--quiet", str(small.root), str(root))
    git(root, "reset", "--hard", "--quiet", "HEAD~1")
    return root


@pytest.fixture
def lent(root) -> Path:
    git(root, "reset", "--hard", "--quiet", "origin/HEAD~1")
    git(root, "clean", "-d", "--force", "--quiet")
    end(root)
    return root


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, ROUNDS))])
def test_each_edit_is_in_the_result_or_in_a_named_conflict(seed, lent, renderings, merge_only, monkeypatch, tmp_path):
    mine, theirs, setting = Edits(seed, "mine"), Edits(seed, "theirs"), SETTINGS[seed * STRIDE % len(SETTINGS)]
    names = [name for name in renderings.old if name in renderings.new and not is_owned(name, owned_paths("nova"))]
    gone, windows, dropped = mine.some(names, 0.05), mine.some(names, 0.1), theirs.some(names, 0.05)
    if setting.files:  # with attributes, git normalizes such files and reports them as changed
        windows = set()
    new = dict(renderings.new)
    for name in names:
        new[name] = theirs.edit(name, new[name].decode()).encode()
        text = mine.edit(name, (lent / name).read_text())
        (lent / name).write_text(text, newline="\r\n" if name in windows else "\n")
    for name in dropped:
        del new[name]
    for name in gone:
        (lent / name).unlink()
    releases.commit(lent, "Edits")
    before = {name: (lent / name).read_bytes() for name in names if name not in gone}
    with monkeypatch.context() as patch:
        for variable, value in setting.environment(tmp_path).items():
            patch.setenv(variable, value)
        report = merge_only(lent, Renderings(renderings.old, new, False))
    named = {conflict["file"]: conflict["why"] for conflict in report["conflicts"]}
    assert sum(len(words) for edits in (mine, theirs) for words in edits.words.values()) >= EDITS
    assert [name for name in gone if (lent / name).exists() or name in named] == []
    for name in dropped - gone:
        assert (lent / name).read_bytes() == before[name] and named[name] == REMOVED
    for name in set(names) - gone - dropped:
        text, data = (lent / name).read_text(), (lent / name).read_bytes()
        assert [word for word in mine.words[name] + theirs.words[name] if word not in text] == []
        assert ("<<<<<<< before updating" in text) == (name in named)
        assert data.count(b"\r\n") == (data.count(b"\n") if name in windows else 0)
    assert set(git(lent, "diff", "--name-only", "--diff-filter=U").split()) == set(named)
    assert set(named.values()) <= {"", REMOVED}
