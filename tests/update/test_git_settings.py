"""The same update under every setting of git that people have: the same tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.update.git_settings import SETTINGS, Setting
from tests.update.second_version import CONVENTION, CONVENTIONS, change_conventions
from tests.update.template_versions import Scene, git, releases, status, tree
from tests.update.template_versions import update as copier_update
from tests.update.test_update_edits import EDIT, edit

# Of these, each at once with all others that allow it, so that a quick run meets most of them.
_ALONE = (
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.attributesFile",
    "merge.conflictStyle",
    "init.templateDir",
)


def together() -> Setting:
    plain = [setting for setting in SETTINGS if not setting.name.startswith("$")]
    entries = {name: value for setting in plain for name, value in setting.config if name not in _ALONE}
    files = {name: text for setting in plain for name, text in setting.files if not name.startswith("template/")}
    return Setting("together", tuple(entries.items()), files=tuple(files.items()))


@pytest.fixture(scope="module")
def shared(begin) -> Scene:
    """A port with an edit in ten files, and a template that changes the same files elsewhere."""
    scene = begin()
    edit(scene.root, CONVENTIONS)
    releases.commit(scene.root, "Edits")
    change_conventions(scene.template)
    scene.template.tag("v0.2.0")
    return scene


@pytest.fixture(scope="module")
def updated(shared, mflux_port) -> dict[str, bytes]:
    """The tree as the update leaves it without any setting."""
    done = mflux_port("update", "nova", cwd=shared.root)
    assert done.returncode == 0, done.stderr
    files = tree(shared.root)
    git(shared.root, "reset", "--hard", "--quiet")
    git(shared.root, "clean", "-d", "--force", "--quiet")
    for ending in CONVENTIONS:
        (text,) = [text for name, text in files.items() if name.endswith(ending)]
        assert text.startswith(EDIT.encode()) and text.endswith(CONVENTION.encode())
    return files


def assert_same(done, root: Path, updated: dict[str, bytes]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    files = tree(root)
    assert {name for name in {*files, *updated} if files.get(name) != updated.get(name)} == set()
    assert not any(line[:2].strip() not in ("M", "D", "A", "??") for line in status(root).splitlines())


@pytest.mark.parametrize(
    "setting",
    [together(), *(pytest.param(setting, marks=pytest.mark.full) for setting in SETTINGS)],
    ids=lambda setting: setting.name,
)
def test_same_tree(setting, updated, lent, mflux_port, tmp_path):
    done = mflux_port("update", "nova", cwd=lent, env=setting.environment(tmp_path))
    assert_same(done, lent, updated)


@pytest.mark.full
@pytest.mark.parametrize("name", ["together", "apply.whitespace=error", "* text=auto eol=crlf", "core.autocrlf=true"])
def test_same_tree_with_copier_alone(name, updated, lent, monkeypatch, tmp_path):
    (setting,) = [setting for setting in (together(), *SETTINGS) if setting.name == name]
    for variable, value in setting.environment(tmp_path).items():
        monkeypatch.setenv(variable, value)
    done = copier_update(lent, "nova")
    assert_same(done, lent, updated)


@pytest.mark.full
@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_INDEX_FILE"])
def test_copier_alone_refuses_a_git_that_is_led_elsewhere(variable, lent, monkeypatch):
    before = tree(lent)
    index = lent / ".git/index"
    monkeypatch.setenv(variable, str(lent / ".git" if variable == "GIT_DIR" else index))
    done = copier_update(lent, "nova")
    monkeypatch.delenv(variable)
    assert done.returncode != 0 and f"mflux-port: {variable} is set" in done.stderr
    assert tree(lent) == before and status(lent) == ""


def test_list_is_long_enough():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS) >= 80
    assert not {name for setting in SETTINGS for name, _ in setting.variables} & set(os.environ) - {"LC_ALL"}
