"""The same update under every git setting that people have gives the same tree.

Most of them go through the steps of an update without Copier's own renderings, which takes a tenth of the time. All of
them together go through whole updates.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mflux_port.update.steps import report_lines
from mflux_port.update.tree import end

from tests.update.git_settings import SETTINGS, Setting
from tests.update.second_version import CONVENTION, CONVENTIONS, NEW_FILE
from tests.update.template_versions import EDIT, Scene, git, status, tree, update

_CLASH = (
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.attributesFile",
    "merge.conflictStyle",
    "init.templateDir",
)

_ENDS_COPIER = ("core.hooksPath", "core.safecrlf", "init.templateDir")


def together(name: str, wanted: Callable[[Setting, str], bool]) -> Setting:
    """Merge many settings into one: if several set the same variable, the last one counts."""
    chosen = [setting for setting in SETTINGS if all(wanted(setting, key) for key, _ in setting.config)]
    config = {key: value for setting in chosen for key, value in setting.config}
    files = {file: text for setting in chosen for file, text in setting.files}
    return Setting(name, tuple(config.items()), files=tuple(files.items()))


EVERYTHING = (
    together("all except line endings", lambda setting, key: key not in _CLASH),
    together("all about line ends", lambda setting, key: key in _CLASH or key.startswith("apply.")),
    Setting(
        "all variables",
        variables=tuple({key: value for setting in SETTINGS for key, value in setting.variables}.items()),
    ),
)


@pytest.fixture(scope="module")
def root(small, tmp_path_factory) -> Path:
    """The checkout of this module's tests."""
    return git_clone(small, tmp_path_factory.mktemp("settings") / "mflux")


def git_clone(small: Scene, root: Path) -> Path:
    git(small.root, "clone", "--quiet", str(small.root), str(root))
    return root


@pytest.fixture
def lent(root) -> Path:
    git(root, "reset", "--hard", "--quiet", "origin/HEAD")
    git(root, "clean", "-d", "--force", "--quiet")
    end(root)
    return root


@pytest.fixture(scope="module")
def updated(small, mflux_port, tmp_path_factory) -> dict[str, bytes]:
    """The tree after a whole update, without any setting."""
    plain = git_clone(small, tmp_path_factory.mktemp("plain") / "mflux")
    done = mflux_port("update", "nova", cwd=plain)
    assert done.returncode == 0, done.stderr
    files = tree(plain)
    for ending in set(CONVENTIONS) - {"porting/nova/run_reference.py"}:
        (text,) = [text for name, text in files.items() if name.endswith(ending)]
        assert text.startswith(EDIT.encode()) and text.endswith(CONVENTION.encode()), ending
    return files


def assert_same(root: Path, updated: dict[str, bytes], apart: tuple[str, ...] = ()) -> None:
    files = tree(root)
    assert {name for name in {*files, *updated} if files.get(name) != updated.get(name)} == set(apart)
    assert {line[:2] for line in status(root).splitlines()} <= {" M", " D", "??"}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_gives_the_same_tree(setting, updated, lent, merge_only, monkeypatch, tmp_path):
    environment = setting.environment(tmp_path)
    with monkeypatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        report = merge_only(lent)
    assert report.get("refused") is None and report["conflicts"] == []
    # The steps of v0.2.0 wire these.
    assert_same(lent, updated, ("CHANGELOG.md", "porting/nova/wiring.json"))


def test_new_file_that_git_ignores_is_named(lent, merge_only, monkeypatch, tmp_path):
    ignore = Setting("", (("core.excludesFile", "HOME/ignore"),), files=(("ignore", "conventions.py\n"),))
    for variable, value in ignore.environment(tmp_path).items():
        monkeypatch.setenv(variable, value)
    new = NEW_FILE.format(model="nova")
    (line,) = [line for line in report_lines(merge_only(lent)) if "git ignores" in line]
    assert f"git ignores a file of nova ({new}); add them with `git add --force -- {new}`" in line


@pytest.mark.full
@pytest.mark.parametrize("setting", EVERYTHING, ids=lambda setting: setting.name)
def test_same_tree_through_whole_updates(setting, updated, lent, mflux_port, tmp_path):
    done = mflux_port("update", "nova", cwd=lent, env=setting.environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert_same(lent, updated)


@pytest.mark.full
@pytest.mark.parametrize("setting", EVERYTHING[:2], ids=lambda setting: setting.name)
def test_same_tree_with_copier_alone(setting, updated, lent, monkeypatch, tmp_path):
    # With these settings Copier fails in its own clones, and nothing is written.
    setting = setting._replace(config=tuple(entry for entry in setting.config if entry[0] not in _ENDS_COPIER))
    with monkeypatch.context() as patch:
        for variable, value in setting.environment(tmp_path).items():
            patch.setenv(variable, value)
        done = update(lent, "nova")
    assert done.returncode == 0, done.stderr
    assert_same(lent, updated)


def test_list_of_settings_is_long_enough():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS) >= 80
    assert not {name for setting in SETTINGS for name, _ in setting.variables} & set(os.environ) - {"LC_ALL"}
