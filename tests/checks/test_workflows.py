"""The workflows: sound YAML, every action pinned to a commit that is a release."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.checks.complete_port import PROJECT

FILES = [*sorted((PROJECT / ".github/workflows").glob("*.yml")), PROJECT / "docs/port-checks.yml"]
# Read from the actions' own repositories: the commit of each release tag.
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
def test_workflow_is_sound(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
