"""Fixtures: a real checkout with a complete, edited port, and the number of kills."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoint.files import TRANSFORMER, write_header
from tests.checks import complete_port
from tests.faults import kills
from tests.faults.tree import Tree
from tests.faults.updates import Reference, refer
from tests.update import template_versions
from tests.update.second_version import OWNED, change_conventions, change_owned
from tests.update.template_versions import Template, git, releases

EDITED = (  # one file that the porter owns and one that carries conventions
    "src/mflux/models/nova/latent_creator/nova_latent_creator.py",
    "src/mflux/models/nova/nova_initializer.py",
)
CONVENTIONS = ("nova_initializer.py", "nova/cli/nova_generate.py", "helpers/tiny_nova_checkpoint.py")
UNKNOWN = (
    "src/mflux/models/nova/notes.md",
    "picture.png",
)  # the porter's own files; one is untracked, the other ignored


def pytest_sessionfinish(session) -> None:
    if hasattr(session.config, "workeroutput"):  # in a worker of pytest-xdist: the first worker prints for all
        session.config.workeroutput["faults"] = [dict(kills.KILLED), dict(kills.LEFT)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    for counter, numbers in zip((kills.KILLED, kills.LEFT), node.workeroutput.get("faults", ()), strict=False):
        counter.update(numbers)


def pytest_terminal_summary(terminalreporter) -> None:
    if kills.KILLED:
        counts = ", ".join(f"{name} {number}" for name, number in kills.KILLED.items())
        left = ", ".join(f"{name} {number}" for name, number in sorted(kills.LEFT.items()))
        terminalreporter.write_line(f"faults: seed {kills.SEED}; {kills.KILLED.total()} kills: {counts}")
        terminalreporter.write_line(f"faults: left as they were {left}")


@pytest.fixture(scope="session")
def worked_on(tmp_path_factory, pristine) -> Path:
    """mflux 0.24.0 with the complete port of nova, edited and committed, and notes next to it. Read-only."""
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("worked-on") / "mflux")
    complete_port.render(root)
    for name in EDITED:
        path = root / name
        path.write_text("# The porter's own line.\n" + path.read_text())
    complete_port.complete(root)
    for name in UNKNOWN:
        (root / name).write_text("mine\n")
    return root


@pytest.fixture
def own(worked_on, tmp_path) -> Path:
    """A writable copy of it."""
    return shutil.copytree(worked_on, tmp_path / "mflux")


@pytest.fixture
def tree(own) -> Tree:
    return Tree(own)


@pytest.fixture
def checkpoint(tmp_path) -> Callable[[int], Path]:
    """``checkpoint(width)``: a transformer's header without data."""

    def make(width: int = 64) -> Path:
        shapes = {name: tuple(width if size == 64 else size for size in shape) for name, shape in TRANSFORMER.items()}
        return write_header(tmp_path / f"nova-{width}.safetensors", shapes)

    return make


@pytest.fixture(scope="session")
def small_template(tmp_path_factory) -> Template:
    """The template at v0.1.0 with a third of its files."""
    template = Template.snapshot(tmp_path_factory.mktemp("small") / "template")
    template.shrink()
    return template


@pytest.fixture(scope="session")
def behind(tmp_path_factory, pristine, small_template) -> Path:
    """A checkout with the port of nova from v0.1.0, edited in files that updates merge and in files that they do not;
    v0.2.0 exists.
    """
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("behind") / "mflux")
    template_versions.copy(small_template.home, root, "nova", "v0.1.0", vae="flux2", text_encoder="qwen3", lora="false")
    names = git(root, "ls-files").splitlines()
    for ending in (*OWNED, *CONVENTIONS):
        path = root / next(name for name in names if name.endswith(ending))
        path.write_text("# The porter's own line.\n" + path.read_text())
    releases.commit(root, "The porter's edits")
    (root / "picture.png").write_text("mine\n")  # a file that git ignores
    change_conventions(small_template)
    change_owned(small_template)
    small_template.tag("v0.2.0")
    return root


@pytest.fixture(scope="session")
def reference(behind, tmp_path_factory) -> Reference:
    """The results of updates of ``behind``."""
    return refer(shutil.copytree(behind, tmp_path_factory.mktemp("reference") / "mflux"))


@pytest.fixture
def behind_tree(behind, tmp_path) -> Tree:
    """A writable copy of ``behind``."""
    return Tree(shutil.copytree(behind, tmp_path / "mflux"))
