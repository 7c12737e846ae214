"""Template versions that change earlier ports: a question's name, a rendered file's path; two versions at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mflux_port.checkout.lock import under_way

from tests.update.template_versions import ANSWERS, Scene, Template, git, releases, status, tree, update

pytestmark = pytest.mark.full
FILE = ANSWERS.format(model="nova")
TESTS = "tests/cli/test_nova{}_command.py"
ATTENTION = "src/mflux/models/nova/model/nova_transformer/{}attention.py"
# The porter edited neither of these files, and deleted the second.
UNTOUCHED = "tests/model_saving/test_tiny_model_saving_nova{}.py"
DELETED = "tests/image_generation/test_nova{}_latent_creator.py"
MINE = "# Mine.\n"
SAVE = "src/mflux/models/common/cli/save.py"


def rename_question(template: Template) -> None:
    """Rename the question `display_name`, in the templates and hooks too."""
    for path in [template.home / name for name in ("copier.yml", *template.files())]:
        if path.is_file() and "display_name" in (text := path.read_text()):
            path.write_text(text.replace("display_name", "people_name"))
    for path in [path for folder in ("hooks", "components") for path in (template.home / folder).rglob("*.*")]:
        path.write_text(path.read_text().replace("display_name", "people_name"))
    template.migrate("before", "rename-answer", "display_name", "people_name")


def move(template: Template, old: str, new: str, version: str) -> None:
    """Make a version that renders a file at another path, with one more line."""
    path = template.home / template.find(old)
    target = template.home / template.find(old).replace(old_name(old), old_name(new))
    path.rename(target)
    target.write_text(target.read_text().rstrip("\n") + f"\n# From {version}.\n")
    places = [place.replace("nova", "{model}") for place in (old, new)]
    template.migrate("after", "move-file", *places, version=version)


def old_name(place: str) -> str:
    return Path(place).name.replace("nova", "{{ model }}")


def two_versions(template: Template) -> None:
    """v0.2.0 and v0.3.0; the second moves again what the first moved."""
    rename_question(template)
    for name in (TESTS, ATTENTION, UNTOUCHED, DELETED):
        move(template, name.format(""), name.format("_own" if "nova{}" in name else "joint_"), "v0.2.0")
    template.tag("v0.2.0")
    move(template, TESTS.format("_own"), TESTS.format("_third"), "v0.3.0")
    move(template, ATTENTION.format("joint_"), ATTENTION.format("third_"), "v0.3.0")
    template.tag("v0.3.0")


@pytest.fixture(scope="module")
def migrated(begin) -> Scene:
    """The port after one update over both versions, with Copier alone; nothing is committed."""
    scene = begin()
    root = scene.root
    (root / TESTS.format("")).write_text(MINE + (root / TESTS.format("")).read_text())
    (root / ATTENTION.format("")).write_text(MINE)
    (root / DELETED.format("")).unlink()
    releases.commit(root, "Edits")
    two_versions(scene.template)
    done = update(root, "nova")
    assert done.returncode == 0, done.stderr
    assert "conflict" not in done.stdout and under_way(root) is None
    return scene


def test_renamed_question_keeps_its_answer(migrated):
    answers = (migrated.root / FILE).read_text()
    assert "people_name: Nova of Acme 2.1\n" in answers and "display_name" not in answers


def test_moved_file_keeps_the_edits(migrated):
    root, new = migrated.root, TESTS.format("_third")
    text = (root / new).read_text()
    assert text.startswith(MINE) and text.endswith("# From v0.2.0.\n# From v0.3.0.\n")
    assert text.count("# From v0.2.0.") == 1 and "<<<<<<<" not in text
    assert f"R  {TESTS.format('')} -> {new}" in status(root)


def test_moved_file_that_the_porter_owns_is_moved_too(migrated):
    root = migrated.root
    assert (root / ATTENTION.format("third_")).read_text() == MINE
    assert f"R  {ATTENTION.format('')} -> {ATTENTION.format('third_')}" in status(root)


def test_moved_file_without_edits_is_the_new_one(migrated):
    root = migrated.root
    old = git(root, "show", f"HEAD:{UNTOUCHED.format('')}")
    assert (root / UNTOUCHED.format("_own")).read_text() == old + "# From v0.2.0.\n"


def test_old_paths_stay_empty(migrated):
    names = [name.format(word) for name in (TESTS, UNTOUCHED, DELETED) for word in ("", "_own", "_third")]
    names += [ATTENTION.format(word) for word in ("", "joint_", "third_")]
    kept = [TESTS.format("_third"), UNTOUCHED.format("_own"), ATTENTION.format("third_")]
    assert [name for name in names if (migrated.root / name).exists()] == kept


def test_second_update_does_not_migrate_again(migrated, tmp_path):
    root = shutil.copytree(migrated.root.parent, tmp_path / "scene") / "mflux"
    releases.commit(root, "v0.3.0")
    assert update(root, "nova").returncode == 0
    assert status(root) == ""


def test_refusal_after_the_rename_leaves_the_tree_unchanged(scene, mflux_port):
    rename_question(scene.template)
    scene.template.edit("copier.yml", "\nmodel:\n", "\nnovelty:\n  type: str\n  default: new\n\nmodel:\n")
    scene.template.tag("v0.2.0")
    (scene.root / SAVE).write_text("def main():\n    pass\n")
    releases.commit(scene.root, "mflux's save.py has changed")
    before = tree(scene.root)
    # A question is new, so an answer that cannot be wired shows only after the merge.
    done = update(scene.root, "nova")
    assert done.returncode != 0 and "save.py" in done.stderr
    assert tree(scene.root) == before and status(scene.root) == "" and under_way(scene.root) is None
    assert mflux_port("update", "nova", cwd=scene.root).returncode == 2
    assert tree(scene.root) == before and status(scene.root) == ""
