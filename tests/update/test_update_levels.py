"""mflux changed under an unfinished port: one update moves the port to the new API level."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from mflux_port.template.project import owned_paths

from tests import frozen, preloaded
from tests.update.template_versions import ANSWERS, copy, git, releases, status, tree, update

FILE = ANSWERS.format(model="nova")
MINE = "# The porter's own line.\n"
EDITED = (
    "src/mflux/models/nova/nova_initializer.py",
    "src/mflux/models/nova/variants/txt2img/nova.py",
    "src/mflux/models/nova/cli/nova_generate.py",
    "src/mflux/models/nova/model/nova_transformer/transformer.py",
    "src/mflux/models/nova/weights/nova_weight_mapping.py",
    "tests/cli/test_nova_command.py",
)


def bring(root: Path, release: Path) -> None:
    """Merge a later release, as a porter merges upstream; if both changed the same lines, take mflux's."""
    first = git(root, "rev-list", "--max-parents=0", "HEAD").strip()
    git(root, "fetch", "--quiet", str(release), "main")
    later = git(root, "commit-tree", "FETCH_HEAD^{tree}", "-p", first, "-m", f"mflux {release.name}").strip()
    git(root, "merge", "--quiet", "--no-edit", "--strategy-option", "theirs", later)


@pytest.fixture
def old_port(checkout, template):
    """``old_port(version)``: a port in the form of that release's level, with the porter's edits."""

    def make(version: str, **answers: object) -> Path:
        root = checkout(version)
        copy(template.home, root, "nova", "v0.1.0", **answers)
        for name in EDITED:
            path = root / name
            # At the top of a command the imports of the two levels differ: an edit there would rightly be a conflict.
            path.write_text(path.read_text() + MINE if "/cli/nova" in name else MINE + path.read_text())
        releases.commit(root, "The porter's edits")
        return root

    return make


@pytest.mark.full
def test_new_level_is_detected_reported_and_stored(old_port, pristine):
    root = old_port("0.18.0")
    assert "mflux_api: '0.18'" in (root / FILE).read_text()
    bring(root, pristine("0.22.0"))
    done = update(root, "nova")
    assert done.returncode == 0, done.stderr
    assert "mflux_api: 0.18 -> 0.22" in done.stdout
    assert "mflux_api: '0.22'" in (root / FILE).read_text()
    for name in EDITED:
        text = (root / name).read_text()
        assert MINE in text and "<<<<<<<" not in text, name


@pytest.mark.full
def test_level_goes_down_with_mflux(port, mflux_port):
    git(port, "rm", "--quiet", "src/mflux/models/common/vae/vae_decode_options.py")
    releases.commit(port, "What mflux 0.24 brought goes")
    done = mflux_port("update", "nova", cwd=port)
    assert done.returncode == 0, done.stderr
    assert "mflux_api: 0.24 -> 0.22" in done.stdout


@pytest.mark.full
def test_edited_port_passes_its_fast_tests_on_the_new_mflux(
    old_port, template, pristine, fresh, environment, mflux_port
):
    answers = {"vae": "flux2", "training": True, "variants": ["txt2img", "edit"]}
    root = old_port("0.18.0", **answers)
    bring(root, pristine("0.24.0"))
    done = mflux_port("update", "nova", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mflux_api: 0.18 -> 0.24 (found in this checkout" in done.stdout
    updated, copied = tree(root), fresh(template, "v0.1.0", nova=answers)
    owned = tuple(owned_paths("nova"))
    for name in [name for name in copied if "nova" in name and name.startswith(("src/", "tests/"))]:
        text = updated[name].decode()
        assert (MINE in text) == (name in EDITED), name
        if not name.startswith(owned):  # otherwise it is as its porter wrote it
            assert text.replace(MINE, "") == copied[name].decode(), name
    tests = run_fast_tests(root, environment("0.24.0"))
    assert tests.returncode == 0, tests.stdout[-3000:]
    releases.commit(root, "Level 0.24")
    assert mflux_port("update", "nova", cwd=root).returncode == 0
    assert status(root) == ""


def run_fast_tests(root: Path, python: Path) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(root / "src"), str(root), frozen.PATH])
    variables = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), "-m", "pytest", "-q", "-o", "addopts=", "-m", "fast", "-k", "nova", "tests"]
    command += frozen.PLUGIN
    return preloaded.run(command, root, variables)
