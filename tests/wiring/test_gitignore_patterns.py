"""Whether a ``.gitignore`` hides the training example: asked of git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mflux_port.errors import PortError
from mflux_port.wiring.source import Source
from mflux_port.wiring.surfaces import gitignore, training_example
from wiring_hosts import NOVA, port

PORT = port(NOVA)
EXAMPLE = training_example.FILE.format(model=PORT.model)
NAME = EXAMPLE.rpartition("/")[2]
HIDING = [
    "*.json", "*", "?*.json", "[a-z]*.json", "*.jso[n]", "train_*", "*_image.json", "train_?ova*.json", "*n*.json", NAME,
    EXAMPLE, f"/{EXAMPLE}", "*x", "**/*.json", "src/**/*.json", "**/_example/**", "!*.json\n*.json", "src/",
    "training/", "/src", "_example", "*_example/", "[!x]*.json",
]  # fmt: skip
SHOWING = [
    "", "#*.json", "*.jsonl", ".json", "*.json\n!*.json", "?", "[!t]*.json", "train_?.json", "/*.json", "json", "*json/",
    f"{NAME}/", "_example.json", "src/*.json", f"*.json\n!{NAME}", "_example/*.json", "x*", "?.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("patterns")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.mark.parametrize("patterns", HIDING)
def test_a_pattern_that_hides_the_example(patterns: str, repository: Path):
    assert _git_hides(repository, patterns)
    assert _found_hidden(patterns)


@pytest.mark.parametrize("patterns", SHOWING)
def test_a_pattern_that_does_not(patterns: str, repository: Path):
    assert not _git_hides(repository, patterns)
    assert not _found_hidden(patterns)


def _git_hides(repository: Path, patterns: str) -> bool:
    (repository / ".gitignore").write_text(f"{patterns}\n", encoding="utf-8")
    asked = subprocess.run(["git", "check-ignore", "--no-index", "--quiet", EXAMPLE], cwd=repository)
    assert asked.returncode in (0, 1)
    return asked.returncode == 0


def _found_hidden(patterns: str) -> bool:
    # A line to show the example is planned, or a hidden folder above it is refused.
    try:
        blocks = gitignore.blocks(Source(".gitignore", f"{patterns}\n".encode()), PORT)
    except PortError:
        return True
    return any(block.at is not None for block in blocks)
