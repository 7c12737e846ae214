"""The same update in every kind of checkout, at every path, gives the same tree, or one line before anything is
written.

All places go through the steps of an update without Copier's own renderings; those that might be a problem for Copier
go through whole updates, too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.update.second_version import CONVENTION, CONVENTIONS
from tests.update.template_versions import EDIT, git, point_to, releases, tree


@pytest.fixture(scope="module")
def updated(small, mflux_port, tmp_path_factory) -> dict[str, bytes]:
    root = clone(small.root, tmp_path_factory.mktemp("plain") / "mflux")
    assert mflux_port("update", "nova", cwd=root).returncode == 0
    return tree(root)


def clone(source: Path, root: Path, *options: str) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    git(source, "clone", "--quiet", *options, "--", str(source), str(root))
    return root


def worktree(source: Path, home: Path) -> Path:
    main = clone(source, home / "main")
    git(main, "worktree", "add", "--quiet", "-b", "ports", str(home / "beside"))
    return home / "beside"


def submodule(source: Path, home: Path) -> Path:
    outer = home / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "deep/mflux")
    releases.commit(outer, "A submodule")
    return outer / "deep/mflux"


def monorepo(source: Path, home: Path) -> Path:
    root = clone(source, home / "mono/libs/mflux")
    shutil.rmtree(root / ".git")
    git(home / "mono", "init", "--quiet")
    releases.commit(home / "mono", "All in one")
    return root


def another_repository_around(source: Path, home: Path) -> Path:
    git(home, "init", "--quiet")
    (home / ".gitignore").write_text("*\n")
    return clone(source, home / "mflux")


def detached(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    git(root, "checkout", "--quiet", "--detach")
    return root


def orphan_branch_with_slashes(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    git(root, "checkout", "--quiet", "--orphan", "ports/nova/first")
    releases.commit(root, "One commit")
    return root


def sparse(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    models = [f"src/mflux/models/{name}" for name in ("common", "nova")]
    git(root, "sparse-checkout", "set", *models, "src/mflux/cli", "porting", "tests")
    assert not (root / "src/mflux/models/qwen").exists()
    return root


def windows_line_ends(source: Path, home: Path) -> Path:
    return clone(source, home / "mflux", "--config", "core.autocrlf=true")


def committed_windows_line_ends(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    for path in [*(root / "src").rglob("*.py"), *(root / "tests").rglob("*.py"), *(root / "porting").rglob("*.*")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    releases.commit(root, "As somebody's editor saves them")
    return root


def attributes_of_its_own(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    (root / ".git/info/attributes").write_text("* text=auto eol=crlf\n*.md -text\n")
    (root / ".git/index").unlink()
    git(root, "reset", "--hard", "--quiet")
    assert b"\r\n" in (root / "pyproject.toml").read_bytes()
    return root


def another_hash(source: Path, home: Path) -> Path:
    root = clone(source, home / "mflux")
    shutil.rmtree(root / ".git")
    git(root, "init", "--quiet", "--object-format=sha256")
    releases.commit(root, "All")
    return root


def link_to_it(source: Path, home: Path) -> Path:
    clone(source, home / "real/mflux")
    (home / "link").symlink_to(home / "real")
    return home / "link/mflux"


def odd_name(name: str) -> Callable[[Path, Path], Path]:
    return lambda source, home: clone(source, home / name / "mflux")


PLACES = {
    "worktree": worktree,
    "submodule": submodule,
    "monorepo": monorepo,
    "inside another repository": another_repository_around,
    "detached": detached,
    "orphan branch": orphan_branch_with_slashes,
    "sparse": sparse,
    "shallow": lambda source, home: clone(source, home / "mflux", "--no-local", "--depth=1"),
    "without blobs": lambda source, home: clone(source, home / "mflux", "--no-local", "--filter=blob:none"),
    "shared objects": lambda source, home: clone(source, home / "mflux", "--shared"),
    "git folder elsewhere": lambda source, home: clone(source, home / "mflux", f"--separate-git-dir={home / 'git'}"),
    "CRLF by core.autocrlf": windows_line_ends,
    "CRLF committed": committed_windows_line_ends,
    "CRLF by attributes": attributes_of_its_own,
    "sha256": another_hash,
    "spaces and signs": odd_name("two words & 'quotes' (#1) 100% $HOME"),
    "glob signs": odd_name("[a-z]*?{b,c}"),
    "letters of the world": odd_name("Bücher-图像-ø"),
    "leading hyphen": odd_name("-delete"),
    "space at the end": odd_name("end "),
    "link": link_to_it,
    "long": odd_name("/".join(["deep" * 10] * 10)),
}
WHOLE = ("submodule", "sparse", "without blobs", "CRLF by core.autocrlf", "sha256", "spaces and signs")
WIRED = {"CHANGELOG.md", "porting/nova/wiring.json"}  # the steps of v0.2.0 wire them, where Copier calls these


@pytest.mark.parametrize("place", [pytest.param(place, marks=pytest.mark.full) for place in PLACES])
def test_every_kind_of_checkout_gives_the_same_tree(place, small, updated, merge_only, tmp_path):
    root = PLACES[place](small.root, tmp_path)
    before = tree(root)
    report = merge_only(root)
    assert report.get("refused") is None and report["conflicts"] == []
    assert_same(before, tree(root), updated, WIRED)


@pytest.mark.full
@pytest.mark.parametrize("place", WHOLE)
def test_same_tree_through_whole_updates(place, small, updated, tmp_path, mflux_port):
    root = PLACES[place](small.root, tmp_path)
    before = tree(root)
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(before, tree(root), updated, set())


def assert_same(before: dict[str, bytes], after: dict[str, bytes], updated: dict[str, bytes], apart: set[str]) -> None:
    assert same_line_ends(before, after) == set()
    texts = {name: data.replace(b"\r\n", b"\n") for name, data in after.items()}
    assert {name for name in set(after) - set(before) if "nova" not in name} == set()  # no file appears elsewhere
    left_out = set(updated) - set(before) - {name for name in updated if "nova" in name}  # for sparse checkouts
    assert {n for n in {*texts, *updated} - left_out if texts.get(n) != updated.get(n)} == apart
    for ending in set(CONVENTIONS) - {"porting/nova/run_reference.py"}:
        (text,) = [text for name, text in texts.items() if name.endswith(ending)]
        assert text.startswith(EDIT.encode()) and text.endswith(CONVENTION.encode())


def same_line_ends(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """The files whose line endings are of another kind than before."""
    return {
        name for name in before if name in after and b"\n" in before[name] and crlf(before[name]) != crlf(after[name])
    }


def crlf(text: bytes) -> bool:
    return text.count(b"\r\n") == text.count(b"\n")


def test_sparse_checkout_without_the_port(small, tmp_path, mflux_port):
    root = clone(small.root, tmp_path / "mflux")
    git(root, "sparse-checkout", "set", "src", "porting")
    before = tree(root)
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 2 and "this sparse checkout leaves out" in done.stderr
    assert "git sparse-checkout add tests/cli" in done.stderr
    assert tree(root) == before and git(root, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"lat\xe9in")])
def test_path_that_copier_cannot_use(name, small, tmp_path, mflux_port):
    try:
        root = clone(small.root, tmp_path / name / "mflux")
    except OSError:  # macOS takes only UTF-8
        root = clone(small.root, tmp_path / "two\nlines/mflux")
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 2 and "in its path; rename that folder first" in done.stderr
    assert done.stderr.count("\n") == 1 and git(root, "status", "--porcelain") == ""


def test_template_that_is_a_shallow_clone(small, tmp_path, mflux_port):
    clone(small.template.home, tmp_path / "template", "--no-local", "--depth=1")
    root = clone(small.root, tmp_path / "mflux")
    point_to(root, "nova", tmp_path / "template")
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 2 and "is a shallow clone without v0.1.0" in done.stderr
    command = done.stderr[done.stderr.index("`git -C") + 1 : done.stderr.rindex("`")].split()
    git(tmp_path, *command[1:])
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 0, done.stderr
