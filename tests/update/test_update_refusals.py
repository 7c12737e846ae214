"""An update that cannot work is refused before anything is written, in one line that says what to do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from mflux_port.cli import main
from mflux_port.update.steps import run_step

from tests.update.second_version import change_conventions
from tests.update.template_versions import ANSWERS, Scene, git, releases, status, tree, update

FILE = ANSWERS.format(model="nova")
SAVE = "src/mflux/models/common/cli/save.py"


@pytest.fixture(scope="module")
def shared(begin) -> Scene:
    scene = begin()
    change_conventions(scene.template)
    scene.template.tag("v0.2.0")
    return scene


@pytest.fixture
def port(lent) -> Path:
    """A port for which v0.2.0 exists."""
    return lent


def change_answers(root: Path, old: str, new: str) -> None:
    path = root / FILE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    releases.commit(root, "Answers edited by hand")


def forget_save(root: Path) -> None:
    (root / SAVE).write_text("def main():\n    pass\n")
    releases.commit(root, "mflux's save.py has changed")


def assert_refused(done: subprocess.CompletedProcess, root: Path, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("mflux-port: ")]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]
    assert status(root) == ""


@pytest.fixture
def refused(port, monkeypatch, capsys):
    """``mflux-port update`` of the port in this process, which is faster."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.chdir(port)
        status = main(["update", *arguments])
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps: ", "steps: many ", ("steps", "a whole number")),
        ("guidance: 4.0", "guidance: .nan", ("guidance", "a number")),
        ("lora: true", "lora: ja", ("lora", "true or false")),
        ("variants:\n- txt2img\n", "variants: txt2img\n", ("variants",)),
        ("model: nova\n", "model: [nova\n", ("is not valid YAML", "git log -- ")),
        ("_commit: v0.1.0\n", "_commit: 12\n", ("_commit",)),
        ("_commit: v0.1.0\n", "", ("_commit", "copier recopy -a")),
        ("_src_path: ", "_src: ", ("_src_path", "--template PATH")),
    ],
)
def test_answers_edited_into_something_invalid(port, refused, old, new, words):
    change_answers(port, old, new)
    assert_refused(refused("nova"), port, FILE, *words)


RENAMED = "an update does not rename a port"


@pytest.mark.parametrize(
    ("old", "new", "given", "words"),
    [
        ("", "", {"model": "vega"}, ("belongs to model nova", "vega was given", RENAMED)),
        ("", "", {"class_name": "Vega"}, ("belongs to class_name Nova", "Vega was given", RENAMED)),
        ("model: nova\n", "model: vega\n", {}, ("belongs to model nova", RENAMED)),
        ("class_name: Nova\n", "class_name: Vega\n", {}, ("belongs to class_name Nova", RENAMED)),
        ("vae: own\n", "", {}, ("no longer has the answer `vae`", "write it there again")),
        ("lora: true", "lora: ja", {}, ("lora",)),
    ],
)
def test_first_step_refuses(port, shared, monkeypatch, capsys, old, new, given, words):
    change_answers(port, old, new)
    monkeypatch.setenv("VERSION_FROM", "v0.1.0")
    assert run_step(port, "check", FILE, json.dumps(given), str(shared.template.home)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


def test_first_step_accepts_a_valid_port(port, shared, monkeypatch, capsys):
    monkeypatch.setenv("VERSION_FROM", "v0.1.0")
    assert run_step(port, "check", FILE, json.dumps({"model": "nova"}), str(shared.template.home)) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["edited", "new", "hidden", "staged"])
def test_dirty_tree(port, shared, refused, monkeypatch, kind):
    path = port / ("notes.md" if kind in ("new", "hidden") else "README.md")
    path.write_text("mine\n")
    if kind == "staged":
        git(port, "add", "README.md")
    if kind == "hidden":
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "status.showUntrackedFiles")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "no")
    before = tree(port)
    for scope in (["nova"], ["--all"]):
        done = refused(*scope)
        assert done.returncode == 2 and "git add --all && git commit" in done.stderr
    assert run_step(port, "check", FILE, "{}", str(shared.template.home)) == 2
    assert tree(port) == before


def ignore(root: Path, *patterns: str) -> None:
    # The case of a porter who ignored the files before they were added.
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("".join(f"{pattern}\n" for pattern in patterns))
    ignored = git(root, "ls-files", "--cached", "--ignored", "--exclude-standard").splitlines()
    git(root, "rm", "--quiet", "--cached", "--", *ignored)
    git(root, "commit", "--quiet", "--message", "State of a porter who ignores these")


@pytest.fixture
def without_exclude(port):
    exclude = port / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    yield port
    exclude.unlink()


INITIALIZER = "src/mflux/models/nova/nova_initializer.py"


@pytest.mark.parametrize(
    ("pattern", "first", "command"),
    [
        ("nova_initializer.py", INITIALIZER, f"git add --force -- {INITIALIZER}`"),
        ("models/", "src/mflux/models/nova/", "git add --force -- 'src/mflux/models/nova/*.py'"),
        ("porting/", "porting/nova/", "'porting/nova/*.py'"),
    ],
)
def test_files_that_git_ignores(without_exclude, mflux_port, pattern, first, command):
    port = without_exclude
    ignore(port, pattern)
    (port / INITIALIZER).write_text("# A week of work.\n" + (port / INITIALIZER).read_text())
    if pattern == "porting/":
        releases.commit(port, "Edit")
    before = {name: (port / name).read_bytes() for name in (INITIALIZER, FILE)}
    shown = mflux_port("status", cwd=port).stdout
    assert "git ignores " in shown and first in shown and command.rstrip("`") in shown
    for done in (mflux_port("update", "nova", cwd=port), update(port, "nova")):
        assert done.returncode != 0 and "git ignores " in done.stderr, done.stderr
        assert first in done.stderr and command in done.stderr
        assert {name: (port / name).read_bytes() for name in before} == before and status(port) == ""


def test_file_marked_assume_unchanged(port, mflux_port):
    (port / INITIALIZER).write_text("# A week of work.\n")
    git(port, "update-index", "--assume-unchanged", INITIALIZER)
    done = mflux_port("update", "nova", cwd=port)
    assert_refused(done, port, f"git assumes that {INITIALIZER} is unchanged", "git update-index --no-assume-unchanged")
    assert (port / INITIALIZER).read_text() == "# A week of work.\n"
    git(port, "update-index", "--no-assume-unchanged", INITIALIZER)


def test_file_marked_skip_worktree(port, mflux_port):
    (port / INITIALIZER).write_text("# A week of work.\n")
    git(port, "update-index", "--skip-worktree", INITIALIZER)
    done = mflux_port("update", "nova", cwd=port)
    assert_refused(done, port, f"git is told to skip {INITIALIZER}", "git update-index --no-skip-worktree")
    assert (port / INITIALIZER).read_text() == "# A week of work.\n"
    git(port, "update-index", "--no-skip-worktree", INITIALIZER)


@pytest.mark.parametrize("name", [INITIALIZER, "src/mflux/models/nova/weights", "src/mflux/models/nova"])
def test_link_in_place_of_the_file(port, mflux_port, name):
    (port / name).rename(port / "elsewhere")
    (port / name).symlink_to(port / "elsewhere")
    releases.commit(port, "A link")
    assert_refused(mflux_port("update", "nova", cwd=port), port, f"{name} is a link")
    shown = mflux_port("status", "nova", cwd=port)
    assert "Traceback" not in shown.stderr and "git add --force" not in shown.stdout


def test_rejected_part_of_an_earlier_merge(without_exclude, mflux_port):
    port = without_exclude
    (port / ".git/info/exclude").write_text("*.rej\n")
    (port / "README.md.rej").write_text("a part of somebody's patch\n")
    done = mflux_port("update", "nova", cwd=port)
    assert_refused(done, port, "README.md.rej is left over from an earlier merge")
    assert (port / "README.md.rej").exists()
    (port / "README.md.rej").unlink()


def test_merge_in_progress(port, mflux_port):
    head = git(port, "rev-parse", "HEAD")
    (port / ".git/MERGE_HEAD").write_text(head)
    assert_refused(mflux_port("update", "nova", cwd=port), port, "a merge is in progress", "git merge --abort")
    assert (port / ".git/MERGE_HEAD").read_text() == head
    (port / ".git/MERGE_HEAD").unlink()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/nowhere/template", "there is no such folder"),
        ("relative/template", "there is no such folder"),
        (
            "https://127.0.0.1:9/template",
            "Copier does not recognize it as a git address; write it as git+https://127.0.0.1:9/template",
        ),
        (
            "file:///nowhere/template",
            "Copier does not recognize it as a git address; write it as git+file:///nowhere/template",
        ),
        (
            "me@host.invalid:template",
            "Copier does not recognize it as a git address; write it as git+me@host.invalid:template",
        ),
        ("src", "it is a folder inside"),
        ("README.md", "it is a file"),
        pytest.param("https://127.0.0.1:9/template.git", "fatal: ", marks=pytest.mark.full),
    ],
)
def test_unreachable_source(port, refused, source, reason):
    path = port / FILE
    change_answers(port, "_src_path: ../template\n", f"_src_path: {source}\n")
    assert f"_src_path: {source}\n" in path.read_text()
    done = refused("nova")
    assert_refused(done, port, f"cannot be reached at {source} ({reason}", "mflux-port update nova --template PATH")


def test_source_that_is_not_a_git_repository(port, mflux_port, tmp_path):
    (tmp_path / "plain").mkdir()
    head = git(port, "rev-parse", "HEAD")
    done = mflux_port("update", "nova", "--template", tmp_path / "plain", cwd=port)
    assert_refused(done, port, "it is not a git repository")
    assert git(port, "rev-parse", "HEAD") == head


@pytest.mark.full
def test_missing_version(port, mflux_port):
    done = mflux_port("update", "nova", "--to", "v7.0.0", cwd=port)
    assert_refused(done, port, "../template has no version v7.0.0", "one of its tags with --to")


def test_invalid_arguments(port, mflux_port, pristine):
    assert_refused(mflux_port("update", "vega", cwd=port), port, "no port vega", "nova")
    assert_refused(mflux_port("update", "nova", "--all", cwd=port), port, "not both")
    assert_refused(mflux_port("update", cwd=pristine()), pristine(), "no port of this template")


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("class_name: Nova\n", "class_name: Vega\n", (RENAMED,)),
        ("vae: own\n", "vae: nonsense\n", ("vae", "nonsense", "write one of")),
        ("_commit: v0.1.0\n", "_commit: v0.0.9\n", ("v0.0.9", "nearest tag")),
    ],
)
def test_answers_that_copier_refuses(port, mflux_port, old, new, words):
    change_answers(port, old, new)
    assert_refused(mflux_port("update", "nova", cwd=port), port, FILE, *words)


@pytest.mark.full
@pytest.mark.parametrize(("given", "words"), [("class_name=Vega", RENAMED), ("", "`vae`")])
def test_first_step_stops_copier(port, given, words):
    if not given:
        change_answers(port, "vae: own\n", "")
    before = tree(port)
    done = update(port, "nova", *(["-d", given] if given else []))
    assert done.returncode != 0 and words in done.stderr
    assert tree(port) == before and status(port) == ""


@pytest.mark.full
def test_older_template(port, mflux_port):
    change_answers(port, "_commit: v0.1.0\n", "_commit: v0.2.0\n")
    assert_refused(mflux_port("update", "nova", "--to", "v0.1.0", cwd=port), port, "newer template", "--to HEAD")
    assert update(port, "nova", "--vcs-ref", "v0.1.0").returncode != 0
    assert status(port) == ""


@pytest.mark.full
def test_shared_file_in_an_unknown_form(port, mflux_port):
    forget_save(port)
    assert_refused(mflux_port("update", "nova", cwd=port), port, "save.py")
    assert update(port, "nova").returncode != 0
    assert status(port) == ""


@pytest.mark.full
def test_checkout_in_a_folder_of_another_repository(port, tmp_path):
    outer = tmp_path / "outer"
    (outer / "beside").mkdir(parents=True)
    for name, data in tree(port).items():
        (outer / "mflux" / name).parent.mkdir(parents=True, exist_ok=True)
        (outer / "mflux" / name).write_bytes(data)
    change = outer / "mflux" / FILE
    change.write_text(change.read_text().replace("../template", str(port.with_name("template"))))
    (outer / "mflux" / SAVE).write_text("def main():\n    pass\n")
    (outer / "beside/notes.md").write_text("old\n")
    git(outer, "init", "--quiet")
    releases.commit(outer, "All")
    (outer / "beside/notes.md").write_text("hours of work\n")
    assert update(outer / "mflux", "nova").returncode != 0
    assert status(outer).split() == ["M", "beside/notes.md"]
    assert (outer / "beside/notes.md").read_text() == "hours of work\n"


@pytest.mark.full
def test_template_that_does_not_render(scene, mflux_port):
    scene.template.append("nova/nova_initializer.py", "{{ no_such_answer }}\n")
    scene.template.tag("v0.3.0")
    assert_refused(mflux_port("update", "nova", cwd=scene.root), scene.root, "no_such_answer")
