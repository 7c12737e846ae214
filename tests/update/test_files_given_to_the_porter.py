"""A file that becomes the porter's in some version: the update to that version merges it, no later one changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mflux_port.template.project import configuration, owned_paths
from mflux_port.update.moves import HANDED_OVER, handed_over
from mflux_port.update.renderings import Renderings
from mflux_port.update.steps import report_lines

from tests.update.second_version import CONVENTION
from tests.update.template_versions import PROJECT, git, releases

FILE = "src/mflux/models/nova/weights/nova_weight_definition.py"
MINE = b"# Where the encoder really is.\n"
LATER = b"# A convention of a later version.\n"


@pytest.fixture
def root(small, tmp_path) -> Path:
    root = tmp_path / "mflux"
    git(small.root, "clone", "--quiet", "--shared", str(small.root), str(root))
    (root / FILE).write_bytes(
        (root / FILE).read_bytes().replace(b"    @staticmethod\n", MINE + b"    @staticmethod\n", 1)
    )
    releases.commit(root, "My weights")
    return root


@pytest.mark.parametrize("version", HANDED_OVER)
def test_handed_over_file_is_in_the_list_and_its_version_migrates(version):
    assert set(handed_over(version, "nova")) <= set(owned_paths("nova"))
    questions = configuration((PROJECT / "copier.yml").read_text())
    assert version in [migration.get("version") for migration in questions["_migrations"]]


def test_update_across_the_version_merges_it_once_more_and_reports_it(root, merge_only):
    report = merge_only(root)
    text = (root / FILE).read_bytes()
    assert MINE in text and text.endswith(CONVENTION.encode())
    assert report["handed_over"] == [FILE]
    assert f"{FILE}: now yours; later updates do not change it" in report_lines(report)


def test_a_later_update_leaves_it(root, merge_only, renderings):
    merge_only(root)
    releases.commit(root, "Updated")
    before = (root / FILE).read_bytes()
    later = {name: text + LATER if name.endswith(".py") else text for name, text in renderings.new.items()}
    report = merge_only(root, Renderings(renderings.new, later, False), between=())
    assert (root / FILE).read_bytes() == before and report["handed_over"] == []
    assert (root / "src/mflux/models/nova/nova_initializer.py").read_bytes().endswith(LATER)
