"""Hosts that their owners changed give a correct result or a named error, never a wrong or incomplete edit."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from mangled_hosts import CASES, Change
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from wiring_hosts import NOVA, contents, port


@pytest.mark.parametrize(("version", "file", "change", "outcome"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_mangled_host_is_wired_or_refused(version: str, file: str, change: Change, outcome: str, shared):
    root = shared(version)
    _mangle(root / file, change)
    before = contents(root)
    one = port(NOVA)
    if outcome.split(":")[0] == "wired":
        _assert_comes_and_goes(root, one, before, file, outcome.partition(":")[2])
    elif outcome.startswith("kept:"):
        _assert_left_alone(root, one, outcome.removeprefix("kept:"))
    else:
        with pytest.raises(PortError, match=outcome) as raised:
            wiring.wire(Checkout(root), one)
        message = str(raised.value)
        assert "\n" not in message and "; " in message
        assert file in message or "taken" in message or "mflux's" in message
        assert contents(root) == before
        assert not (root / "porting").exists()


def _mangle(path: Path, change: Change) -> None:
    old = path.read_bytes().decode("utf-8") if path.exists() else ""
    new = change(old)
    assert new != old
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(new.encode("utf-8", "surrogateescape"))


def _assert_comes_and_goes(root: Path, one, before: dict[str, bytes], file: str, text: str) -> None:
    wiring.wire(Checkout(root), one)
    assert text in (root / file).read_text()
    states = {name: result.state for name, result in wiring.states(Checkout(root), one).items()}
    assert set(states.values()) <= {"present", "not applicable"}, states
    for file, data in contents(root).items():
        if file.endswith(".py"):
            ast.parse(data)
        elif file.endswith(".toml"):
            assert one.scripts.items() <= tomllib.loads(data.decode())["project"]["scripts"].items()
    wiring.unwire(Checkout(root), one)
    assert contents(root) == before


def _assert_left_alone(root: Path, one, surface: str) -> None:
    # Every edited line stays, run after run, and the report names the one that differs.
    lines = {file: _lines(data) for file, data in contents(root).items()}
    for act in (wiring.wire, wiring.wire, wiring.unwire):
        results = {result.surface: result for result in act(Checkout(root), one)}
        assert "left as it is" in str(results[surface])
        now = contents(root)
        for file, old in lines.items():
            assert not old - _lines(now[file]), (act.__name__, file)


def _lines(data: bytes) -> set[str]:
    return {re.sub(r"^(el)?if ", "if ", line.strip()) for line in data.decode("utf-8", "replace").splitlines()}
