"""A port of template v0.1.0, with edits in a file that moved and with both waiver files, updated to v0.2.0."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from mflux_port.checkout.lock import under_way

from tests.update import template_versions
from tests.update.template_versions import BESIDE, PROJECT, Template, git, releases, status, tree, update

pytestmark = pytest.mark.full
FIRST = "04f74cd"  # the template before its files moved
HOME = "porting/nova"
MINE = "# Edited by the porter.\n"
PARITY = """# Known differences.
- module: "transformer.*.norm"   # eps
  limit: 2.0e-5
  reason: mflux builds this norm with another eps
"""
LEDGER = """# What the reference keeps and the port does not need.
transformer:
  tensors: {bn.num_batches_tracked: torch's training counter}
  parameters: {rope.*: 'computed, not loaded'}
"""
EXPECTED = {
    "ledger": [
        {"component": "transformer", "tensor": "bn.num_batches_tracked", "reason": "torch's training counter"},
        {"component": "transformer", "parameter": "rope.*", "reason": "computed, not loaded"},
    ],
    "parity": [
        {"module": "transformer.*.norm", "limit": 2e-5, "reason": "mflux builds this norm with another eps"},
    ],
}


def first_version(home: Path) -> Template:
    """The template as it was at FIRST, tagged v0.1.0, with today's as v0.2.0 above it."""
    home.mkdir(parents=True)
    archive = home.with_suffix(".tar")
    names = ("copier.yml", "components", "hooks", "template")
    git(PROJECT, "archive", "--output", str(archive), FIRST, *names)
    with tarfile.open(archive) as packed:
        packed.extractall(home, filter="data")
    git(home, "init", "--quiet", "--initial-branch", "main")
    template = Template(home)
    template.tag("v0.1.0")
    return template


def second_version(template: Template, scratch: Path) -> None:
    today = Template.snapshot(scratch).home
    for name in ("copier.yml", "components", "hooks", "template"):
        path = template.home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        copy = shutil.copytree if (today / name).is_dir() else shutil.copy2
        copy(today / name, path)
    template.tag("v0.2.0")


@pytest.fixture(scope="module")
def old_port(tmp_path_factory, pristine) -> tuple[Template, Path]:
    """The template with both versions and, next to it, a checkout with the edited port of v0.1.0."""
    home = tmp_path_factory.mktemp("first-release")
    template = first_version(home / "template")
    root = shutil.copytree(pristine(), home / "mflux")
    template_versions.copy(BESIDE, root, "nova", "v0.1.0")
    moved = root / HOME / "parity/pictures.py"
    moved.write_text(moved.read_text() + MINE)
    (root / HOME / "waivers.yml").write_text(PARITY)
    (root / HOME / "ledger_waivers.yml").write_text(LEDGER)
    releases.commit(root, "Edits")
    second_version(template, home / "today")
    return template, root


@pytest.fixture(scope="module")
def updated(old_port) -> Path:
    _, root = old_port
    done = update(root, "nova")
    assert done.returncode == 0, done.stderr
    assert "conflict" not in done.stdout and under_way(root) is None
    return root


def test_edits_are_in_the_moved_file(updated):
    text = (updated / HOME / "parity/explain/pictures.py").read_text()
    assert text.endswith(MINE) and text.count(MINE) == 1 and "<<<<<<<" not in text
    assert "def to_picture" in text
    assert f"R  {HOME}/parity/pictures.py -> {HOME}/parity/explain/pictures.py" in status(updated)


def test_harness_equals_that_of_a_fresh_port(updated):
    fresh = PROJECT / "template/porting/{{ model }}/parity"
    files = {path.relative_to(fresh): path.read_text() for path in fresh.rglob("*.py")}
    found = updated / HOME / "parity"
    assert {path.relative_to(found) for path in found.rglob("*.py")} == files.keys()
    edited = {name for name, text in files.items() if (found / name).read_text() != text}
    assert edited == {Path("explain/pictures.py")}


def test_the_waivers_are_one_file(updated):
    text = (updated / HOME / "waivers.yml").read_text()
    assert yaml.safe_load(text) == EXPECTED
    assert "# Known differences." in text and "# eps" in text and "# What the reference keeps" in text
    assert not (updated / HOME / "ledger_waivers.yml").exists()


@pytest.mark.parametrize("script", ["run_mflux.py", "run_reference.py", "make_tiny_checkpoint.py"])
def test_the_harness_runs(updated, script):
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, cwd=updated / HOME, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


def test_a_second_update_changes_nothing(updated, tmp_path):
    root = shutil.copytree(updated.parent, tmp_path / "scene") / "mflux"
    releases.commit(root, "v0.2.0")
    assert update(root, "nova").returncode == 0
    assert status(root) == ""


def test_unreadable_waivers_leave_the_tree_unchanged(old_port, tmp_path):
    root = shutil.copytree(old_port[1].parent, tmp_path / "scene") / "mflux"
    git(root, "reset", "--hard", "--quiet", "HEAD")
    git(root, "clean", "-d", "--force", "--quiet")
    (root / HOME / "ledger_waivers.yml").write_text("transformer: [a]\n")
    releases.commit(root, "Broken waivers")
    before = tree(root)
    done = update(root, "nova")
    assert done.returncode != 0 and "ledger_waivers.yml must be a mapping of components" in done.stderr
    assert tree(root) == before and status(root) == "" and under_way(root) is None
