"""The workflows are valid, and every action is pinned to the commit of a release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.checks.complete_port import MODEL, PROJECT

FILES = [*sorted((PROJECT / ".github/workflows").glob("*.yml")), PROJECT / "docs/port-checks.yml"]
# The commit of each release tag, from the actions' repositories.
RELEASES = {
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "astral-sh/setup-uv": ("20cfd1bf945f4377ade1205e4dbc17946fc9a30d", "v10.0.1"),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_release(path):
    used = re.findall(r"uses: (\S+)@(\S+)(?: # (\S+))?", path.read_text())
    assert used
    for name, commit, version in used:
        assert (commit, version) == RELEASES[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_workflow_is_valid(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def porters_step(root, tmp_path) -> subprocess.CompletedProcess:
    """Run the checklist step of docs/port-checks.yml as GitHub does. ``uvx --from ADDRESS`` runs this project."""
    workflow = yaml.safe_load((PROJECT / "docs/port-checks.yml").read_text())
    step = next(one for one in workflow["jobs"]["check"]["steps"] if one.get("name") == "The checklist")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uvx").write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -m mflux_port "$@"\n')
    (tmp_path / "bin/uvx").chmod(0o755)
    paths = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(PROJECT / "hooks")}
    environment = {**os.environ, **workflow["env"], **paths}
    command = ["bash", "-e", "-c", step["run"]]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_failing_rows_become_annotations(rendered, tmp_path):
    root = shutil.copytree(rendered, tmp_path / "mflux")
    package = root / f"src/mflux/models/{MODEL}"
    (package / "config.py").write_text("SIZE = 1\n")
    feed_forward = package / f"model/{MODEL}_transformer/feed_forward.py"
    feed_forward.write_text(f"{feed_forward.read_text()}# {'long, 100%: ' * 20}\n")
    done = porters_step(root, tmp_path)
    assert done.returncode == 1, done.stderr
    found = [annotation(line) for line in done.stdout.splitlines()]
    errors = {one["title"].split()[0]: one for kind, one in found if kind == "error"}
    assert set(errors) == {"LAY08", "STY04"}
    assert errors["LAY08"]["title"].endswith("scheduler, fp8, layout or transformer module")
    assert errors["STY04"]["file"] == f"src/mflux/models/{MODEL}/model/{MODEL}_transformer/feed_forward.py"
    assert int(errors["STY04"]["line"]) == len(feed_forward.read_text().splitlines())
    assert {"WGT10", "LOR10"} == {one["title"].split()[0] for kind, one in found if kind == "notice"}


def test_no_port_does_not_fail(pristine, tmp_path):
    done = porters_step(pristine(), tmp_path)
    assert done.returncode == 0 and done.stdout == ""


def annotation(line: str) -> tuple[str, dict[str, str]]:
    """A workflow command as GitHub's runner parses it."""
    kind, properties, _ = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
    pairs = [part.split("=", 1) for part in properties.split(",")]
    assert {name for name, _ in pairs} <= {"file", "line", "title"}
    return kind, {name: value.replace("%3A", ":").replace("%2C", ",").replace("%25", "%") for name, value in pairs}
