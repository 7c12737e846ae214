"""v0.1.0 to v0.2.0: no edit is lost, every convention arrives, nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.update.second_version import (
    CONVENTION,
    CONVENTIONS,
    NEW_FILE,
    OWNED,
    change_conventions,
    change_owned,
)
from tests.update.template_versions import git, host, status, tree, update

EDIT = "# The porter's own line.\n"


def rendered(root: Path, ending: str) -> Path:
    """The port's file whose path ends so."""
    found = [name for name in tree(root) if name.endswith(ending)]
    assert len(found) == 1, f"{ending}: {found}"
    return root / found[0]


def edit(root: Path, endings: tuple[str, ...]) -> None:
    for ending in endings:
        path = rendered(root, ending)
        path.write_text(EDIT + path.read_text())
    host.commit(root, "The porter's edits")


def test_unedited_port_equals_fresh_copy(port, template, fresh):
    change_conventions(template)
    template.tag("v0.2.0")
    done = update(port, "nova")
    assert done.returncode == 0, done.stderr
    updated, copied = tree(port), tree(fresh("nova"))
    assert sorted(updated) == sorted(copied)
    assert [name for name in copied if updated[name] != copied[name]] == []


def test_edits_of_both_kinds_stay_and_conventions_arrive(port, template):
    edit(port, CONVENTIONS + OWNED)
    before = tree(port)
    change_conventions(template)
    change_owned(template)
    template.tag("v0.2.0")
    done = update(port, "nova")
    assert done.returncode == 0, done.stderr
    for ending in CONVENTIONS:
        text = rendered(port, ending).read_text()
        assert text.startswith(EDIT) and text.endswith(CONVENTION), ending
    for ending in OWNED:
        name = rendered(port, ending).relative_to(port).as_posix()
        assert (port / name).read_bytes() == before[name]
    assert (port / NEW_FILE.format(model="nova")).read_text() == "RULES = 2\n"
    assert not (port / "porting/nova/make_tiny_checkpoint.py").exists()
    assert "conflict" not in done.stdout


def test_second_update_changes_nothing(port, template, mflux_port):
    edit(port, CONVENTIONS + OWNED)
    change_conventions(template)
    template.tag("v0.2.0")
    assert update(port, "nova").returncode == 0
    host.commit(port, "v0.2.0")
    done = mflux_port("update", cwd=port)
    assert (done.returncode, status(port)) == (0, "")
    assert "up to date" in done.stdout


def test_wiring_takes_the_new_form_and_nothing_twice(port, template, mflux_port):
    change_conventions(template)
    template.tag("v0.2.0")
    before = git(port, "grep", "-c", "nova", "--", ":!porting", ":!src/mflux/models/nova", ":!tests")
    done = mflux_port("update", "nova", cwd=port)
    assert done.returncode == 0, done.stderr
    assert "CHANGELOG.md: brought up to date" in done.stdout
    assert (port / "CHANGELOG.md").read_text().count("added (v2), with") == 1
    assert git(port, "grep", "-c", "nova", "--", ":!porting", ":!src/mflux/models/nova", ":!tests") == before


def test_changed_answer_reaches_files_and_wiring_once(port, mflux_port):
    done = update(port, "nova", "-d", "display_name=Nova of Acme 2.1")
    assert done.returncode == 0, done.stderr
    assert "display_name: Nova of Acme 2.1" in (port / "porting/nova/answers.yml").read_text()
    assert (port / "README.md").read_text().count("Nova of Acme 2.1") == 2
    assert (port / "CHANGELOG.md").read_text().count("mflux-generate-nova") == 1
    host.commit(port, "Another name")
    assert mflux_port("wire", "nova", cwd=port).returncode == 0
    assert status(port) == ""


@pytest.mark.parametrize("ending", ["nova_transformer/transformer.py", "porting/nova/PORTING.md"])
def test_owned_file_that_the_porter_deleted_stays_away(port, template, ending):
    path = rendered(port, ending)
    path.unlink()
    host.commit(port, "Not needed")
    change_owned(template)
    change_conventions(template)
    template.tag("v0.2.0")
    assert update(port, "nova").returncode == 0
    assert not path.exists()


def test_port_made_by_one_clone_is_updated_from_another(port, template, tmp_path, mflux_port):
    change_conventions(template)
    template.tag("v0.2.0")
    moved = template.home.rename(tmp_path / "elsewhere")
    refused = mflux_port("update", "nova", cwd=port)
    assert refused.returncode == 2
    assert str(template.home) in refused.stderr and "--template PATH" in refused.stderr
    assert status(port) == ""
    done = mflux_port("update", "nova", "--template", moved, cwd=port)
    assert done.returncode == 0, done.stderr
    assert f"_src_path: {moved}" in (port / "porting/nova/answers.yml").read_text()
    assert rendered(port, "nova_initializer.py").read_text().endswith(CONVENTION)
