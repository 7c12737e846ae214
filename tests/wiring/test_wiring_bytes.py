"""Line endings, tabs, byte order marks and comments of the checkout's files are kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from wiring_hosts import THREE, contents, port, shared_files

_BOM = b"\xef\xbb\xbf"


def _tabs(data: bytes) -> bytes:
    return re.sub(rb"^(?: {4})+", lambda match: b"\t" * (len(match.group()) // 4), data, flags=re.MULTILINE)


def _comments(data: bytes) -> bytes:
    # A comment with characters of two to four bytes above and after every line of a table.
    return re.sub(
        rb"^( +)(\"[\w.-]+\": [\w\"]+,)$", "\\1# Größe 大 🎨\n\\1\\2  # «é»".encode(), data, flags=re.MULTILINE
    )


def _only(suffix: str, change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], bytes]:
    return lambda path, data: change(data) if path.suffix == suffix else data


HABITS: dict[str, Callable[[Path, bytes], bytes]] = {
    "CRLF": lambda path, data: data.replace(b"\n", b"\r\n"),
    "no final newline": lambda path, data: data.rstrip(b"\n"),
    "CRLF, no final newline": lambda path, data: data.rstrip(b"\n").replace(b"\n", b"\r\n"),
    "byte order mark": lambda path, data: _BOM + data,
    "tabs": _only(".py", _tabs),
    "blanks at line ends": _only(".md", lambda data: data.replace(b"\n", b"  \n")),
    "comments, beyond ASCII": _only(".py", _comments),
    "no trailing commas": _only(".py", lambda data: re.sub(rb",(\n[ ]*[\]}]\n)", rb"\1", data)),
    "comment behind the last": _only(".py", lambda data: re.sub(rb",(\n[ ]*[\]}]\n)", rb"  # last\1", data)),
}


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
@pytest.mark.parametrize("habit", HABITS)
def test_bytes_are_kept(habit: str, version: str, shared):
    root = shared(version)
    pristine = contents(root)
    for name in shared_files():
        path = root / name
        if path.is_file():
            path.write_bytes(HABITS[habit](path, path.read_bytes()))
    before = contents(root)
    assert before != pristine
    ports = [port(answers) for answers in THREE]
    for one in ports:
        wiring.wire(Checkout(root), one)
    wired = contents(root)
    for one in ports:
        states = {name: result.state for name, result in wiring.states(Checkout(root), one).items()}
        assert set(states.values()) <= {"present", "not applicable"}, states
        wiring.wire(Checkout(root), one)
    assert contents(root) == wired
    for file, data in before.items():
        _assert_only_added(file, data, wired[file])
    for one in ports:
        wiring.unwire(Checkout(root), one)
    assert contents(root) == before


def _assert_only_added(file: str, old: bytes, new: bytes) -> None:
    if file.endswith(".py"):
        ast.parse(new)
    assert new.startswith(_BOM) == old.startswith(_BOM)
    assert old.endswith(b"\n") == new.endswith(b"\n") or old in (b"", _BOM)
    if b"\r\n" in old:
        assert new.count(b"\r\n") == new.count(b"\n"), file
    # In an if/elif chain the old first branch becomes a second one; no other line changes.
    lines = iter(re.sub(rb"^(\s*)elif ", rb"\1if ", line) for line in new.splitlines())
    for line in old.splitlines():
        assert re.sub(rb"^(\s*)elif ", rb"\1if ", line) in lines, (file, line)
