"""The pages show the programs' output, and every link and command in them exists."""

from __future__ import annotations

import argparse
import importlib.util
import re
from functools import cache

import pytest
from mflux_port.cli import COMMANDS

from tests.checks.complete_port import PROJECT


def _load():
    spec = importlib.util.spec_from_file_location("docs_make", PROJECT / "docs/make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = _load()
PAGES = MAKE.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_what_the_programs_print(page, rendered, completed, pristine):
    places = {"fresh": lambda: rendered, "complete": lambda: completed}
    places |= {version: lambda v=version: pristine(v) for version in ("0.24.0", "0.18.1")}
    text = page.read_text()
    assert MAKE.filled(text, places) == text, "run `uv run python docs/make.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_existing_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    text = page.read_text()
    named = set(re.findall(r"mflux-port ([a-z]+)\b", text))
    assert named <= {*COMMANDS, "from"}
    for command, rest in re.findall(r"mflux-port ([a-z]+)\b([^`\n#;]*)", text):
        given = set(re.findall(r"(?<!\S)--[a-z-]+|(?<!\S)-[a-z]\b", rest))
        assert given <= options(command), f"{command}{rest}"


@cache
def options(command: str) -> set[str]:
    """The options of a command, read from its parser."""
    if command not in COMMANDS:
        return set()
    parser = argparse.ArgumentParser()
    importlib.import_module(f"mflux_port.commands.{command}").add_arguments(parser)
    return {*parser._option_string_actions, "--checkout", "--json"}
