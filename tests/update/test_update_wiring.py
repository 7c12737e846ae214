"""A wiring line that the porter deleted comes back and is reported."""

from __future__ import annotations

import json

import pytest

from tests.update.template_versions import git, host, status, tree, update


def delete_lines(root, name: str, words: str) -> None:
    path = root / name
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if words not in line]
    assert len(kept) < len(lines)
    path.write_text("".join(kept))
    host.commit(root, "Delete a line")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pyproject.toml", "mflux-generate-nova"),
        ("src/mflux/cli/defaults/defaults.py", '"nova"'),
        ("README.md", "models/nova/README.md"),
    ],
)
def test_deleted_line_comes_back_and_is_reported(port, name, words):
    before = tree(port)
    delete_lines(port, name, words)
    done = update(port, "nova")
    assert done.returncode == 0, done.stderr
    assert f"{name}: put back what was deleted there (" in done.stdout
    assert tree(port) == before


def test_whole_shared_file_taken_from_mflux_again(port, mflux_port):
    before = tree(port)
    names = ["src/mflux/models/common/cli/save.py", "src/mflux/models/common/config/model_config.py"]
    git(port, "checkout", "--quiet", git(port, "rev-list", "--max-parents=0", "HEAD").strip(), "--", *names)
    host.commit(port, "mflux's own files again")
    done = mflux_port("update", "nova", "--json", cwd=port)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert {entry["surface"] for entry in report["came_back"]} == {"save", "model_config"}
    assert sorted(report["files"]) == sorted(names)
    assert tree(port) == before


def test_nothing_is_reported_when_nothing_was_deleted(port):
    done = update(port, "nova")
    assert "put back" not in done.stdout and status(port) == ""
