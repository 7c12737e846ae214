"""Which files of a port git ignores, although the template renders them."""

from __future__ import annotations

import pytest
from mflux_port.update import tracked

from tests.update.template_versions import git


@pytest.mark.parametrize(("name", "found"), [("progress.py", True), ("__pycache__/progress.cpython-311.pyc", False)])
def test_a_rendered_file_counts_and_what_python_compiled_does_not(tmp_path, monkeypatch, name, found):
    root, project = tmp_path / "mflux", tmp_path / "project"
    for file in (project / "template/porting/{{ model }}/parity" / name, root / "porting/nova/parity" / name):
        file.parent.mkdir(parents=True)
        file.touch()
    (root / ".gitignore").write_text("parity/\n")
    git(root, "init", "--quiet")
    monkeypatch.setattr(tracked, "project_root", lambda: project)
    assert tracked.ignored_files(root, "nova") == [f"porting/nova/parity/{name}"] * found
