"""Random edits of a porter and of the template, under random settings of git, in a whole port: none is lost.

``test_merge.py`` does the same to single files.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mflux_port.template.project import is_owned, owned_paths
from mflux_port.update.renderings import Renderings
from mflux_port.update.tree import end

from tests.update.git_settings import SETTINGS
from tests.update.template_versions import git, releases

ROUNDS = 12
EDITS = 30  # in each round, on both sides together
# The class is how an update knows that the port was not renamed.
KEPT = "class "


class Edits:
    """What one side wrote, by file: words that are there once in the world."""

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
    mine, theirs = Edits(seed, "mine"), Edits(seed, "theirs")
    names = [name for name in renderings.old if name in renderings.new and not is_owned(name, owned_paths("nova"))]
    new = dict(renderings.new)
    for name in names:
        new[name] = theirs.edit(name, new[name].decode()).encode()
        (lent / name).write_text(mine.edit(name, (lent / name).read_text()))
    releases.commit(lent, "Edits")
    with monkeypatch.context() as patch:
        for variable, value in mine.random.choice(SETTINGS).environment(tmp_path).items():
            patch.setenv(variable, value)
        report = merge_only(lent, Renderings(renderings.old, new, False))
    named = {conflict["file"]: conflict["why"] for conflict in report["conflicts"]}
    assert sum(len(words) for edits in (mine, theirs) for words in edits.words.values()) >= EDITS
    for name in names:
        text = (lent / name).read_text()
        assert [word for word in mine.words[name] if word not in text] == []
        assert [word for word in theirs.words[name] if word not in text] == []
        assert ("<<<<<<< before updating" in text) == (name in named)
    assert set(git(lent, "diff", "--name-only", "--diff-filter=U").split()) == set(named)
    assert set(named.values()) <= {""}
