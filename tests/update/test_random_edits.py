"""Random edits of a porter and of the template, under random settings of git, through whole updates: none is lost.

``test_merge.py`` does the same to the merge alone, with more of them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mflux_port.template.project import owned_paths
from mflux_port.update.apply import is_owned
from mflux_port.update.copying import rendered_files

from tests.update.git_settings import SETTINGS
from tests.update.template_versions import ANSWERS, Scene, Template, git, releases

pytestmark = pytest.mark.full
ROUNDS, EDITS = 6, 300


class Edits:
    """What was written where: the words that one side added, each once in the world."""

    def __init__(self, seed: int, who: str):
        self.random, self.who, self.words = random.Random(seed), who, {}

    def edit(self, name: str, path: Path, most: int) -> None:
        lines = path.read_text().splitlines(keepends=True)
        for number in range(self.random.randint(1, most)):
            word = f"# {self.who} {name} {number}\n"
            # The class is how an update knows that the port was not renamed.
            places = [at for at, line in enumerate(lines) if not line.startswith("class ")] + [len(lines)]
            at = self.random.choice(places)
            replaced = self.random.choice([0, 0, 1, 3])
            kept = [line for line in lines[at : at + replaced] if line.startswith("class ")]
            lines[at : at + replaced] = [*kept, word]
            self.words.setdefault(name, []).append(word)
        path.write_text("".join(lines))
        self.words[name] = [word for word in self.words.get(name, []) if word in lines]


def template_owned(root: Path) -> list[str]:
    names = [path.relative_to(root).as_posix() for path in rendered_files(root, "nova")]
    skipped = (ANSWERS.format(model="nova"), "porting/nova/wiring.json")
    return [name for name in names if not is_owned(name, owned_paths("nova")) and name not in skipped]


def change_template(template: Template, edits: Edits) -> None:
    """Plain files anywhere, and those with Jinja at their end."""
    for name in template.files():
        path = template.home / name
        place = name.removeprefix("template/").replace("{{ model }}", "nova")
        if (
            name.startswith("template/")
            and path.is_file()
            and not is_owned(place.removesuffix(".jinja"), owned_paths("nova"))
        ):
            if path.suffix == ".py" and "{%" not in name:
                edits.edit(place, path, 2)
            elif name.endswith(".py.jinja") and "{%" not in name and path.read_text().strip():
                word = f"# {edits.who} {place} at the end\n"
                path.write_text(path.read_text().rstrip("\n") + "\n" + word)
                edits.words[place.removesuffix(".jinja")] = [word]


@pytest.fixture
def edited(scene: Scene, request) -> tuple[Scene, Edits, Edits]:
    mine, theirs = Edits(request.param, "mine"), Edits(1000 + request.param, "theirs")
    for name in template_owned(scene.root):
        mine.edit(name, scene.root / name, 2)
    releases.commit(scene.root, "Edits")
    change_template(scene.template, theirs)
    scene.template.tag("v0.2.0")
    return scene, mine, theirs


@pytest.mark.parametrize("edited", range(ROUNDS), indirect=True, ids=str)
def test_each_edit_is_in_the_result_or_in_a_named_conflict(edited, mflux_port, tmp_path):
    scene, mine, theirs = edited
    root = scene.root
    setting = mine.random.choice(SETTINGS)
    assert sum(map(len, mine.words.values())) * ROUNDS >= EDITS
    done = mflux_port("update", "nova", "--json", cwd=root, env=setting.environment(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    (report,) = json.loads(done.stdout)
    named = {conflict["file"]: conflict["why"] for conflict in report["conflicts"]}
    lost = {}
    for name, words in mine.words.items():
        text = (root / name).read_text()
        lost[name] = [word for word in words if word not in text]
        assert ("<<<<<<< before updating" in text) == (name in named and not named[name]), name
    assert {name: words for name, words in lost.items() if words} == {}
    unmerged = set(git(root, "diff", "--name-only", "--diff-filter=U").split())
    assert unmerged == set(named)
    for name, words in theirs.words.items():
        assert name in mine.words and not [word for word in words if word not in (root / name).read_text()], name
