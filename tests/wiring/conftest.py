"""Checkouts for the wiring tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mangled_hosts import OVERLAY
from mflux_port import wiring
from mflux_port.checkout import releases
from mflux_port.checkout.tree import Checkout
from wiring_hosts import NOVA, contents, copy_shared, port


@pytest.fixture
def shared(tmp_path) -> Callable[..., Path]:
    """``shared(version)``: the shared files of a release in a new folder."""

    def make(version: str = releases.NEWEST, name: str = "host") -> Path:
        source = releases.source(version)
        root = copy_shared(source, tmp_path / name)
        original = source / "pyproject.toml.orig"
        if original.is_file():
            (root / "pyproject.toml").write_bytes(original.read_bytes())
        for name in (".gitignore", "CHANGELOG.md"):
            (root / name).write_text(releases.MISSING_FROM_SDIST[name], encoding="utf-8")
        return root

    return make


@pytest.fixture
def answered() -> Callable[[Path, dict], None]:
    """``answered(root, answers)``: write a port's answers file."""

    def write(root: Path, answers: dict) -> None:
        path = root / "porting" / answers["model"] / "answers.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(answers, allow_unicode=True), encoding="utf-8")

    return write


_OTHERS = 'STANDARD_QUANTS = []\nOVERLAY = {\n    "dev": ("image", "flux1", "flux1-dev", [], [], "active", None),\n}\n'


@pytest.fixture
def wired(shared):
    """``wired(surface)``: a host that has the surface, with NOVA wired, and its bytes before."""

    def make(surface: str, answers: dict = NOVA) -> tuple[Path, dict[str, bytes]]:
        root = shared("0.18.1" if "completions" in surface or "chain" in surface else "0.24.0")
        (root / "scripts").mkdir()
        (root / OVERLAY).write_text(_OTHERS)
        bare = contents(root)
        wiring.wire(Checkout(root), port(answers))
        return root, bare

    return make
