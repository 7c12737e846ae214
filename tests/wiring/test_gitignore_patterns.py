"""The line in ``.gitignore`` that makes git track the training example, if git ignores it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mflux_port.errors import PortError
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.splicing import spliced
from mflux_port.wiring.surfaces import gitignore, training_example
from wiring_hosts import NOVA, port

PORT = port(NOVA)
EXAMPLE = training_example.FILE.format(model=PORT.model)
NAME = EXAMPLE.rpartition("/")[2]
HIDING = [
    "*.json", "*", "?*.json", "[a-z]*.json", "*.jso[n]", "train_*", "*_image.json", "train_?ova*.json", "*n*.json", NAME,
    EXAMPLE, f"/{EXAMPLE}", "*x", "**/*.json", "src/**/*.json", "**/_example/**", "!*.json\n*.json", "src/",
    "*.json\n\r\n", "training/", "/src", "_example", "*_example/", "[!x]*.json",
]  # fmt: skip
SHOWING = [
    "", "#*.json", "*.jsonl", ".json", "*.json\n!*.json", "?", "[!t]*.json", "train_?.json", "/*.json", "json", "*json/",
    f"{NAME}/", "\r\n", "_example.json", "src/*.json", f"*.json\n!{NAME}", "_example/*.json", "x*", "?.json",
]  # fmt: skip


@pytest.fixture
def repository(tmp_path) -> Path:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


@pytest.mark.parametrize("patterns", HIDING)
def test_a_pattern_that_hides_the_example_is_overruled_or_refused(patterns: str, repository: Path):
    assert _is_ignored(repository, patterns)
    try:
        data = _with_line(repository, patterns)
    except UnknownShape as error:
        assert f" hides {EXAMPLE.rpartition('/')[0]}; delete that line" in str(error)
    else:
        assert not _is_ignored(repository, data.decode())


@pytest.mark.parametrize("patterns", SHOWING)
def test_no_line_for_a_pattern_that_does_not_hide_the_example(patterns: str, repository: Path):
    assert not _is_ignored(repository, patterns)
    assert _with_line(repository, patterns) == patterns.encode()


@pytest.mark.parametrize("folder", [True, False], ids=["folder there", "no folder"])
@pytest.mark.parametrize("pattern", ["_example/", "/src/mflux/", "training"])
def test_a_hidden_folder_is_refused(folder: bool, pattern: str, repository: Path):
    if folder:
        (repository / EXAMPLE).parent.mkdir(parents=True)
    with pytest.raises(UnknownShape, match=r"^\.gitignore: .+ in line 2 hides .+/_example; delete that line$"):
        _with_line(repository, f"*.json\n{pattern}\n")


def test_nested_gitignore_is_named(repository: Path):
    (repository / "src").mkdir()
    (repository / "src/.gitignore").write_text("\n*.json\n")
    with pytest.raises(UnknownShape, match=rf"^src/\.gitignore: \*\.json in line 2 hides {EXAMPLE}; delete that line$"):
        _with_line(repository, "*.png\n")


def test_personal_ignore_rules_do_not_count(repository: Path):
    (repository / ".git/info/exclude").write_text("*.json\n")
    assert _with_line(repository, "*.png\n") == b"*.png\n"


def test_without_git_nothing_is_ignored(tmp_path):
    assert _with_line(tmp_path, "*.json\n") == b"*.json\n"


def test_a_git_that_fails_is_an_error(repository: Path):
    (repository / ".git/HEAD").unlink()
    with pytest.raises(PortError, match="git rev-parse failed in .*fatal: not a git repository"):
        _with_line(repository, "*.json\n")


def _is_ignored(repository: Path, text: str) -> bool:
    (repository / ".gitignore").write_text(f"{text}\n", encoding="utf-8")
    asked = subprocess.run(["git", "check-ignore", "--no-index", "--quiet", EXAMPLE], cwd=repository)
    assert asked.returncode in (0, 1)
    return asked.returncode == 0


def _with_line(repository: Path, text: str) -> bytes:
    """The file after wiring has added its line, if it needs one."""
    (repository / ".gitignore").write_text(text, encoding="utf-8")
    source = Source(".gitignore", text.encode(), repository)
    added = [block for block in gitignore.blocks(source, PORT) if block.span is None and block.at is not None]
    return spliced(source, [((block.at, block.at), f"\n{block.text}".encode()) for block in added])
