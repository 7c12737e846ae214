"""What no update does is refused before anything is written, in one line that says the way on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.update.second_version import change_conventions
from tests.update.template_versions import ANSWERS, git, host, status, tree, update

FILE = ANSWERS.format(model="nova")


def change_answers(root: Path, old: str, new: str) -> None:
    path = root / FILE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    host.commit(root, "Answers edited by hand")


def assert_refused(done: subprocess.CompletedProcess, root: Path, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("mflux-port: ")]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]
    assert status(root) == ""


@pytest.fixture
def newer(template):
    change_conventions(template)
    template.tag("v0.2.0")
    return template


@pytest.mark.parametrize("answer", ["model=vega", "class_name=Vega"])
def test_rename_by_answers(port, newer, answer):
    before = tree(port)
    done = update(port, "nova", "-d", answer)
    assert done.returncode != 0 and "an update renames no port" in done.stderr
    assert tree(port) == before and status(port) == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model: nova\n", "model: vega\n", ("an update renames no port",)),
        ("vae: own\n", "vae: nonsense\n", ("vae", "nonsense")),
        ("vae: own\n", "", ("`vae`", "write it there again")),
        ("steps: ", "steps: many ", ("steps",)),
        ("model: nova\n", "model: [nova\n", ("is no YAML",)),
        ("_commit: v0.1.0\n", "_commit: v0.0.9\n", ("v0.0.9", "nearest tag")),
        ("_commit: v0.1.0\n", "", ("_commit",)),
        ("_src_path: ", "_src: ", ("_src_path", "--template PATH")),
    ],
)
def test_answers_edited_into_something_invalid(port, newer, mflux_port, old, new, words):
    change_answers(port, old, new)
    assert_refused(mflux_port("update", "nova", cwd=port), port, FILE, *words)


def test_lost_answer_stops_copier_too(port, newer):
    change_answers(port, "vae: own\n", "")
    done = update(port, "nova")
    assert done.returncode != 0 and "`vae`" in done.stderr
    assert status(port) == ""


def test_older_template(port, newer, mflux_port):
    change_answers(port, "_commit: v0.1.0\n", "_commit: v0.2.0\n")
    assert_refused(mflux_port("update", "nova", "--to", "v0.1.0", cwd=port), port, "newer template", "--to HEAD")
    assert update(port, "nova", "--vcs-ref", "v0.1.0").returncode != 0
    assert status(port) == ""


def test_version_that_is_not_there(port, newer, mflux_port):
    assert_refused(mflux_port("update", "nova", "--to", "v7.0.0", cwd=port), port, "v7.0.0")


@pytest.mark.parametrize("kind", ["edited", "new", "staged"])
def test_dirty_tree(port, newer, mflux_port, kind):
    path = port / ("notes.md" if kind == "new" else "README.md")
    path.write_text("mine\n")
    if kind == "staged":
        git(port, "add", "README.md")
    before = tree(port)
    for scope in (["nova"], ["--all"]):
        done = mflux_port("update", *scope, cwd=port)
        assert done.returncode == 2 and "git add --all && git commit" in done.stderr
    assert tree(port) == before


@pytest.mark.parametrize("source", ["/nowhere/template", "relative/template", "https://127.0.0.1:9/template.git"])
def test_unreachable_source(port, mflux_port, source):
    lines = (port / FILE).read_text().splitlines(keepends=True)
    (port / FILE).write_text("".join(f"_src_path: {source}\n" if "_src_path" in line else line for line in lines))
    host.commit(port, "Elsewhere")
    done = mflux_port("update", "nova", cwd=port)
    assert_refused(done, port, f"cannot be reached at {source}", "mflux-port update nova --template PATH")


def test_source_that_is_no_git_repository(port, mflux_port, tmp_path):
    (tmp_path / "plain").mkdir()
    head = git(port, "rev-parse", "HEAD")
    done = mflux_port("update", "nova", "--template", tmp_path / "plain", cwd=port)
    assert_refused(done, port, "it is no git repository")
    assert git(port, "rev-parse", "HEAD") == head


def test_shared_file_in_an_unknown_form(port, newer, mflux_port):
    path = port / "src/mflux/models/common/cli/save.py"
    path.write_text("def main():\n    pass\n")
    host.commit(port, "mflux's save is another one")
    assert_refused(mflux_port("update", "nova", cwd=port), port, "save.py")
    assert update(port, "nova").returncode != 0
    assert status(port) == ""


def test_template_that_does_not_render(port, newer, mflux_port):
    newer.append("nova/nova_initializer.py", "{{ no_such_answer }}\n")
    newer.tag("v0.3.0")
    assert_refused(mflux_port("update", "nova", cwd=port), port, "no_such_answer")


def test_wrong_words(port, mflux_port, checkout):
    assert_refused(mflux_port("update", "vega", cwd=port), port, "no port vega", "nova")
    assert_refused(mflux_port("update", "nova", "--all", cwd=port), port, "not both")
    empty = checkout(name="empty")
    assert_refused(mflux_port("update", cwd=empty), empty, "no port of this template")
