"""Render a port's files again, to find out which files the porter has changed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.port.port import ANSWERS
from mflux_port.template.project import project_root


def rendered_texts(root: Path, model: str, names: list[str]) -> dict[str, str]:
    """Render the files ``names`` with this version of the template. Raises PortError when Copier fails."""
    command = _copier()
    if not command:
        raise PortError(
            "Copier is not installed here, so rendered files cannot be compared with yours; "
            "run this as `uv run --with <template> mflux-port …`"
        )
    # The name of Copier's own scratch folders, in which the template's validators do not expect an mflux checkout.
    with tempfile.TemporaryDirectory(prefix="copier._main.") as scratch:
        template = project_root()
        command += ["copy", "--trust", "--defaults", "--quiet", "--skip-tasks"]
        command += ["--data-file", str(root / ANSWERS.format(model=model))]
        command += ["--vcs-ref", "HEAD"] if (template / ".git").exists() else []
        done = subprocess.run([*command, str(template), scratch], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise PortError(f"the template does not render {model} again ({last}); fix its answers, or run an update")
        paths = {name: Path(scratch, name) for name in names}
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


def _copier() -> list[str]:
    if importlib.util.find_spec("copier"):
        return [sys.executable, "-m", "copier"]
    found = shutil.which("copier")
    return [found] if found else []
