"""Update a port with edits, deleted files and deleted wiring to v0.2.0: no edit is lost, all conventions are merged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mflux_port.update.steps import report_lines

from tests.json_forms import facts_of
from tests.update.second_version import CONVENTION, CONVENTIONS, NEW_FILE, OWNED, change_conventions, change_owned
from tests.update.template_versions import ANSWERS, EDIT, NOVA, Scene, edit, git, releases, status, tree, update

DELETED = (
    "src/mflux/models/nova/model/nova_transformer/transformer.py",
    "porting/nova/PORTING.md",
)
WIRING = {
    "pyproject.toml": "mflux-generate-nova",
    "src/mflux/cli/defaults/defaults.py": '"nova"',
    "README.md": "models/nova/README.md",
}
# The porter restored these from mflux.
TAKEN = ("src/mflux/models/common/cli/save.py", "src/mflux/models/common/config/model_config.py")


def delete_lines(path: Path, words: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if words not in line]
    assert len(kept) < len(lines)
    path.write_text("".join(kept))


class Story:
    """The files before the porter's edits, the files after them, and the update's run."""

    def __init__(self, scene: Scene, mflux_port):
        self.template, self.root = scene
        self.wired = tree(self.root)
        edit(self.root, CONVENTIONS + tuple(name for name in OWNED if not name.endswith(("transformer.py", "ING.md"))))
        for name in DELETED:
            (self.root / name).unlink()
        for name, words in WIRING.items():
            delete_lines(self.root / name, words)
        git(
            self.root,
            "checkout",
            "--quiet",
            git(self.root, "rev-list", "--max-parents=0", "HEAD").strip(),
            "--",
            *TAKEN,
        )
        releases.commit(self.root, "The porter's edits")
        self.edited = tree(self.root)
        change_conventions(self.template)
        change_owned(self.template)
        self.template.tag("v0.2.0")
        self.done = mflux_port("update", "nova", "--json", cwd=self.root)
        self.updated = tree(self.root)

    @property
    def report(self) -> dict:
        (report,) = facts_of("update", self.done.stdout)["updates"]
        return report


@pytest.fixture(scope="module")
def story(begin, mflux_port) -> Story:
    story = Story(begin(), mflux_port)
    assert story.done.returncode == 0, story.done.stderr
    return story


def one(files: dict[str, bytes], ending: str) -> str:
    (name,) = [name for name in files if name.endswith(ending)]
    return name


def test_edits_stay_and_conventions_are_merged(story):
    for ending in CONVENTIONS:
        text = story.updated[one(story.updated, ending)].decode()
        assert text.startswith(EDIT) and text.endswith(CONVENTION), ending
    assert story.updated[NEW_FILE.format(model="nova")] == b"RULES = 2\n"
    assert "porting/nova/make_tiny_checkpoint.py" not in story.updated
    assert story.report["conflicts"] == []


def test_porters_files_stay_as_they_are_or_deleted(story):
    names = [name for name in story.edited if name.endswith(OWNED)]
    assert len(names) == len(OWNED) - len(DELETED)
    assert [name for name in names if story.updated[name] != story.edited[name]] == []
    assert not set(DELETED) & set(story.updated)


def test_unedited_files_equal_a_fresh_copy(story, fresh):
    copied = fresh(story.template, "v0.2.0", nova=NOVA)
    assert set(copied) - set(story.updated) == set(DELETED)
    assert set(story.updated) - set(copied) == set()
    touched = {one(copied, ending) for ending in CONVENTIONS + OWNED}
    assert {name for name in story.updated if story.updated[name] != copied[name]} == touched - set(DELETED)


def test_deleted_wiring_is_restored_and_reported(story):
    for name in (*WIRING, *TAKEN):
        assert story.updated[name] == story.wired[name], name
    back = {entry["surface"] for entry in story.report["wiring"] if entry["put_back"]}
    assert back == {"pyproject", "defaults", "readme_table", "save", "model_config"}
    lines = report_lines(story.report)
    for name in (*WIRING, *TAKEN):
        assert any(line.startswith(f"{name}: restored after it was deleted there (") for line in lines), name


def test_wiring_is_updated_without_duplicates(story):
    assert "CHANGELOG.md: updated (line)" in report_lines(story.report)
    old, new = (files["CHANGELOG.md"].decode() for files in (story.wired, story.updated))
    assert old.replace(": added, with", ": added (v2), with") == new != old


def test_report_names_the_versions_and_every_file(story):
    assert (story.report["from"], story.report["to"], story.report["committed"]) == ("v0.1.0", "v0.2.0", False)
    changed = {name for name in story.updated if story.updated[name] != story.edited.get(name)}
    assert set(story.report["files"]) == changed | (set(story.edited) - set(story.updated))


def test_no_trace_of_the_update_is_left(story, mflux_port):
    refused = mflux_port("update", "--restore", cwd=story.root)
    assert refused.returncode == 2 and "nothing to restore" in refused.stderr
    assert tree(story.root) == story.updated


@pytest.mark.full
def test_second_update_changes_nothing(story, tmp_path, mflux_port):
    scene = shutil.copytree(story.root.parent, tmp_path / "scene")
    root = scene / "mflux"
    releases.commit(root, "v0.2.0")
    done = mflux_port("update", cwd=root)
    assert (done.returncode, status(root)) == (0, "")
    assert "up to date" in done.stdout and "restored after" not in done.stdout


@pytest.mark.full
def test_unedited_port_equals_fresh_copy(scene, fresh):
    change_conventions(scene.template)
    scene.template.tag("v0.2.0")
    done = update(scene.root, "nova")
    assert done.returncode == 0, done.stderr
    assert tree(scene.root) == fresh(scene.template, "v0.2.0", nova=NOVA)


@pytest.mark.full
def test_changed_answers_change_files_and_wiring_once(port, mflux_port):
    given = ["display_name=Nova 3", "scheduler=own", "lora=false"]
    (port / "src/mflux/models/nova/README.md").write_text("# All mine\n")
    releases.commit(port, "Write the README")
    done = update(port, "nova", *(word for answer in given for word in ("-d", answer)))
    assert done.returncode == 0, done.stderr
    assert "display_name: Nova 3\n" in (port / ANSWERS.format(model="nova")).read_text()
    assert (port / "README.md").read_text().count("Nova 3") == 2
    assert (port / "CHANGELOG.md").read_text().count("mflux-generate-nova") == 1
    # A file that the porter owns is added when the answers require it, and otherwise stays as it is.
    scheduler = "src/mflux/models/nova/model/nova_scheduler/nova_scheduler.py"
    assert (
        f"{scheduler}: yours, added because the answers now ask for it" in done.stdout and (port / scheduler).is_file()
    )
    readme = "src/mflux/models/nova/README.md"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{readme}: yours, left as it is")]
    assert (port / readme).read_text() == "# All mine\n"
    shown = git(port, *line[line.index("git diff") :].split()[1:])
    assert "-# Nova of Acme 2.1" in shown and "+# Nova 3" in shown
    releases.commit(port, "Other answers")
    assert mflux_port("wire", "nova", cwd=port).returncode == 0
    assert status(port) == ""


@pytest.mark.full
def test_port_made_by_one_clone_is_updated_from_another(port, template, tmp_path, mflux_port):
    change_conventions(template)
    template.tag("v0.2.0")
    moved = shutil.move(template.home, tmp_path / "elsewhere")
    refused = mflux_port("update", "nova", cwd=port)
    assert refused.returncode == 2
    assert "../template" in refused.stderr and "--template PATH" in refused.stderr
    assert status(port) == ""
    answers = port / ANSWERS.format(model="nova")
    delete_lines(answers, "_src_path")
    releases.commit(port, "The place is lost, too")
    done = mflux_port("update", "nova", "--template", moved, cwd=port)
    assert done.returncode == 0, done.stderr
    assert f"_src_path: {moved}" in answers.read_text()
    assert (port / "src/mflux/models/nova/nova_initializer.py").read_text().endswith(CONVENTION)
