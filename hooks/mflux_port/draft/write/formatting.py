"""Drafted files as mflux's formatter leaves them: long lines of forward passes are broken by ruff itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mflux_port.draft.write.source_text import WIDTH
from mflux_port.errors import PortError

_PINNED = "0.16.3"  # the version that mflux 0.24 formats with


def formatted(files: dict[str, str]) -> dict[str, str]:
    """Files by stem, formatted. Raises PortError if ruff cannot be run."""
    if not files:
        return {}
    with tempfile.TemporaryDirectory(prefix="mflux-port-format-") as scratch:
        folder = Path(scratch)
        for stem, text in files.items():
            (folder / f"{stem}.py").write_text(text, encoding="utf-8")
        options = ["format", "--isolated", "--quiet", "--no-cache", "--line-length", str(WIDTH), scratch]
        done = subprocess.run([*_ruff(), *options], capture_output=True, text=True)
        if done.returncode:
            raise PortError(
                f"ruff could not format the draft ({_last(done.stderr)}); install it with `uv add --dev ruff`"
            )
        return {stem: (folder / f"{stem}.py").read_text(encoding="utf-8") for stem in files}


def _ruff() -> list[str]:
    beside = Path(sys.executable).with_name("ruff")
    found = str(beside) if beside.is_file() else shutil.which("ruff")
    return [found] if found else [shutil.which("uv") or "uv", "tool", "run", f"ruff@{_PINNED}"]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
