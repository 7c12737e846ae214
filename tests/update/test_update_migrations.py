"""What a version changes in ports of earlier ones: a question's name, a rendered file's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.update.template_versions import ANSWERS, Template, copy, git, host, status, tree, update

OLD_TEST = "tests/cli/test_nova_command.py"
NEW_TEST = "tests/cli/test_nova_own_command.py"
TRANSFORMER = "src/mflux/models/nova/model/nova_transformer/"


def rename_question(template: Template) -> None:
    """v0.2.0 asks for `display_name` under another name; its templates and hooks follow."""
    for path in [template.home / name for name in ("copier.yml", *template.files())]:
        if path.is_file() and "display_name" in (text := path.read_text()):
            path.write_text(text.replace("display_name", "people_name"))
    for path in [*(template.home / "hooks").rglob("*.py"), *(template.home / "components").iterdir()]:
        path.write_text(path.read_text().replace("display_name", "people_name"))
    template.migrate("before", "rename-answer", "display_name", "people_name")
    template.tag("v0.2.0")


def move(template: Template, old: str, new: str) -> None:
    """v0.2.0 renders a file at another place, with one line more."""
    path = template.home / template.find(old)
    target = path.with_name(path.name.replace(Path(old).name.replace("nova", "{{ model }}"), new))
    path.rename(target)
    target.write_text(target.read_text().rstrip("\n") + "\n# From v0.2.0.\n")
    place = old.replace("nova", "{model}")
    target_place = str(Path(place).with_name(new.replace("{{ model }}", "{model}")))
    template.migrate("after", "move-file", place, target_place)
    template.tag("v0.2.0")


@pytest.fixture
def named(checkout, template):
    """A port with a display name that no default gives."""
    root = checkout()
    copy(template.home, root, "nova", "v0.1.0", display_name="Nova of Acme 2.1")
    return root


@pytest.mark.parametrize("by", ["copier", "mflux-port"])
def test_renamed_question_keeps_its_answer(named, template, mflux_port, by):
    rename_question(template)
    done = update(named, "nova") if by == "copier" else mflux_port("update", "nova", cwd=named)
    assert done.returncode == 0, done.stderr
    answers = (named / ANSWERS.format(model="nova")).read_text()
    assert "people_name: Nova of Acme 2.1\n" in answers and "display_name" not in answers
    assert status(named).strip() == f"M {ANSWERS.format(model='nova')}"


def test_refused_after_the_rename_leaves_the_tree(named, template):
    rename_question(template)
    (named / "src/mflux/models/common/cli/save.py").write_text("def main():\n    pass\n")
    host.commit(named, "mflux's save is another one")
    done = update(named, "nova")
    assert done.returncode != 0 and "save.py" in done.stderr
    assert status(named) == ""


def test_moved_file_keeps_the_edits(port, template):
    path = port / OLD_TEST
    path.write_text("# Mine.\n" + path.read_text())
    host.commit(port, "Edit")
    move(template, OLD_TEST, "test_{{ model }}_own_command.py")
    assert update(port, "nova").returncode == 0
    text = (port / NEW_TEST).read_text()
    assert text.startswith("# Mine.\n") and text.endswith("# From v0.2.0.\n")
    assert text.count("# From v0.2.0.") == 1 and "<<<<<<<" not in text
    assert f"R  {OLD_TEST} -> {NEW_TEST}" in status(port)


def test_moved_file_that_nobody_edited_is_the_new_one(port, template, fresh):
    move(template, OLD_TEST, "test_{{ model }}_own_command.py")
    assert update(port, "nova").returncode == 0
    updated, copied = tree(port), tree(fresh("nova"))
    assert sorted(updated) == sorted(copied)
    assert [name for name in copied if updated[name] != copied[name]] == []


def test_moved_file_that_the_porter_deleted_stays_away(port, template):
    (port / OLD_TEST).unlink()
    host.commit(port, "Not needed")
    move(template, OLD_TEST, "test_{{ model }}_own_command.py")
    assert update(port, "nova").returncode == 0
    assert not (port / OLD_TEST).exists() and not (port / NEW_TEST).exists()


def test_moved_file_edited_where_the_template_changed_is_a_conflict(port, template, mflux_port):
    path = port / OLD_TEST
    path.write_text(path.read_text().rstrip("\n") + "\n# Mine, at the end.\n")
    host.commit(port, "Edit")
    move(template, OLD_TEST, "test_{{ model }}_own_command.py")
    done = mflux_port("update", "nova", cwd=port)
    assert done.returncode == 1
    assert f"conflict: {NEW_TEST}:" in done.stdout
    text = (port / NEW_TEST).read_text()
    assert "# Mine, at the end.\n" in text and "# From v0.2.0.\n" in text


def test_moved_file_that_the_porter_owns_goes_along(port, template):
    old = TRANSFORMER + "attention.py"
    mine = "# All mine.\n"
    (port / old).write_text(mine)
    host.commit(port, "Write attention")
    move(template, old, "joint_attention.py")
    assert update(port, "nova").returncode == 0
    assert (port / TRANSFORMER / "joint_attention.py").read_text() == mine
    assert not (port / old).exists()
    assert "R  " in status(port) and git(port, "diff", "--cached", "--name-status", "-M").startswith("R100")


def test_second_update_does_not_migrate_again(port, template):
    move(template, OLD_TEST, "test_{{ model }}_own_command.py")
    assert update(port, "nova").returncode == 0
    host.commit(port, "v0.2.0")
    assert update(port, "nova").returncode == 0
    assert status(port) == ""
