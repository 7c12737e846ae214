"""The page on ownership names the owner of each rendered file, as copier.yml does."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest
from mflux_port.template.project import owned_paths
from mflux_port.update.moves import MOVES, moves_of

from tests.conftest import PROJECT

ROW = re.compile(r"^\| (?P<paths>`.+?) (?P<rest>otherwise )?\| (?P<owner>porter|template) \|", re.MULTILINE)


def rendered() -> list[str]:
    """Every path that the template can render, for a model called nova."""
    names = []
    for path in (PROJECT / "template").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(PROJECT / "template").as_posix().removesuffix(".jinja")
            name = name.replace("{{ _copier_conf.answers_file }}", "porting/{{ model }}/answers.yml")
            names.append(re.sub(r"\{%.*?%\}", "", name).replace("{{ model }}", "nova").replace("{{ entry.factory }}", "nova_x"))
    return sorted(names)


def table() -> list[tuple[str, str]]:
    """Pattern and owner of each row; rows for all other files come last."""
    page = (PROJECT / "docs/reference/ownership.md").read_text(encoding="utf-8")
    rows = []
    for match in ROW.finditer(page):
        paths = re.findall(r"`([^`]+)`", match["paths"])
        folder = paths[0].rpartition("/")[0]  # the folder that … means in the row's other paths
        for path in paths:
            pattern = path.replace("…", folder).replace("<model>", "nova").replace("**/", "*")
            rows.append((bool(match["rest"]), pattern, match["owner"]))
    return [(pattern, owner) for _, pattern, owner in sorted(rows, key=lambda row: row[0])]


def of_the_porter(name: str) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in owned_paths("nova"))


@pytest.mark.parametrize("name", rendered())
def test_ownership_page_names_the_owner_of_each_file(name):
    owners = [owner for pattern, owner in table() if fnmatch(name, pattern)]
    assert owners, f"the page has no row for {name}"
    assert owners[0] == ("porter" if of_the_porter(name) else "template")


def test_every_moved_file_is_listed_at_its_new_path():
    """A file that moved twice is listed with its last path, because an update goes through every version's list."""
    places = {new for version in MOVES for new in moves_of(version, "nova").values()}
    moved_on = {old for version in MOVES for old in moves_of(version, "nova")}
    assert places - moved_on <= set(rendered())
