"""The linters and type checkers of the releases, as they pin them, each in its own environment in the cache."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mflux_port.checkout import releases

# mflux 0.18 pins its tools in .pre-commit-config.yaml, which its sdist does not contain. Later releases pin them in
# pyproject.toml.
_PINS = {"0.18.1": {"ruff": "0.12.1", "mypy": "1.16.1"}}


def ruff(checkout: Path, release: str, files: Sequence[Path]) -> str:
    """The report of the release's ruff about files of the checkout; empty when they are clean."""
    names = [str(path.relative_to(checkout)) for path in files]
    checked = _run([_tool(release, "ruff"), "check", "--quiet", "--output-format", "concise", *names], checkout)
    return checked + _run([_tool(release, "ruff"), "format", "--diff", "--quiet", *names], checkout)


def type_errors(checkout: Path, release: str, packages: Sequence[Path]) -> str:
    """The report of the release's type checker about packages, with the release's own configuration."""
    names = [str(path.relative_to(checkout)) for path in packages]
    if "mypy" in _pins(release):
        said = _run([_tool(release, "mypy"), "--scripts-are-modules", *names], checkout)
        return "" if said.startswith("Success") else said
    # The configuration names a folder that the sdist does not contain.
    (checkout / "typings").mkdir(exist_ok=True)
    command = [_tool(release, "ty"), "check", "--no-progress", "--output-format", "concise"]
    said = _run([*command, "--python", str(releases.environment(release)), *names], checkout)
    return "" if said.startswith("All checks passed") else said


def _pins(release: str) -> dict[str, str]:
    if release in _PINS:
        return _PINS[release]
    text = (releases.source(release) / "pyproject.toml.orig").read_text(encoding="utf-8")
    return dict(re.findall(r'"(ruff|ty)==([\d.]+)"', text))


def _tool(release: str, name: str) -> str:
    version = _pins(release)[name]
    home = releases.cache_dir() / "tools" / f"{name}-{version}"
    if not (home / "complete").is_file():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", home / "bin/python", f"{name}=={version}"]
        subprocess.run(install, check=True)
        (home / "complete").touch()
    return str(home / "bin" / name)


def _run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr
