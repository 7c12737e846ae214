"""One complete port for the whole test run; each test breaks one thing in it and restores it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.checks import complete_port
from tests.checks.tree import Tree


@pytest.fixture(scope="session")
def rendered(tmp_path_factory, pristine) -> Path:
    """mflux 0.24.0 with the port as the template renders it. Read-only."""
    return complete_port.render(shutil.copytree(pristine(), tmp_path_factory.mktemp("rendered") / "mflux"))


@pytest.fixture(scope="session")
def completed(tmp_path_factory, rendered) -> Path:
    """The same port, finished. Only ``tree`` writes to it."""
    return complete_port.complete(shutil.copytree(rendered, tmp_path_factory.mktemp("completed") / "mflux"))


@pytest.fixture
def tree(completed) -> Tree:
    """The complete port, restored after the test."""
    made = Tree(completed)
    yield made
    made.restore()
