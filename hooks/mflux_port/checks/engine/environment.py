"""The Python environment of a checkout, where ``check --run`` executes the port."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.template.project import address

if TYPE_CHECKING:
    from subprocess import CompletedProcess

_NEEDED = ("mlx", "mflux", "transformers", "pytest")
_MISSING = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""


def verify_environment(facts: Facts, port: Port) -> None:
    """Raise PortError when the Python that would run the port's tests lacks a package that they need."""
    found = run([python_of(facts), "-c", _MISSING, *_NEEDED], facts.root).stdout.split()
    if found:
        template = address(port.template, port.template_commit) or "<template>"
        raise PortError(
            f"--run needs {', '.join(found)}, missing in {python_of(facts)}; run it in the checkout's "
            f"environment: uv run --with {template} mflux-port check {port.model} --run"
        )


def python_of(facts: Facts) -> str:
    """The checkout's own interpreter if it has one, else the current one."""
    own = facts.root / ".venv/bin/python"
    return str(own) if own.is_file() else sys.executable


def run(command: list[str], root: Path) -> CompletedProcess:
    """Run a command in the checkout, offline, with its sources importable."""
    import subprocess  # only --run needs it

    paths = os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def last_line(done: CompletedProcess) -> str:
    """The last line that a command printed, at most 200 characters; its exit code when it printed nothing."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit {done.returncode}"
