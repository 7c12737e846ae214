"""Run the commands that ``status`` prints: as typed, or with a Python that has all packages that they need."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mflux_port.errors import PortError, format_error
from mflux_port.template.project import template_source

_HOOKS = Path(__file__).resolve().parents[2]
_OWN_ERRORS = ("mflux-port: ", "parity: ")  # Copier prints more below the reason of a task that failed
_NEEDED = ("mlx", "torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Runner:
    """``python`` runs MLX and torch; if empty, the commands run as typed, through uv."""

    root: Path
    python: str = ""

    def run(self, command: str) -> subprocess.CompletedProcess:
        """Run a command, or several joined with ``&&``. The last one's output is returned."""
        for part in command.split(" && "):
            words = self._words(shlex.split(part))
            try:
                done = subprocess.run(words, cwd=self.root, env=self._environment(), capture_output=True, text=True)
            except OSError as error:
                raise PortError(f"{words[0]} cannot be run ({error.strerror}); install it and run this again") from None
            if done.returncode:
                break
        return done

    def _words(self, words: list[str]) -> list[str]:
        if words[0] == "mflux-port":
            return [self.python or sys.executable, "-m", "mflux_port", *words[1:]]
        if words[0] == "copier":
            return [sys.executable, "-m", *words]
        if words[:2] == ["uv", "run"] and self.python:
            return [self.python, *_without_uv(words[2:])]
        return words

    def _environment(self) -> dict[str, str]:
        paths = [str(_HOOKS), *([str(self.root / "src")] if self.python else []), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "NO_COLOR": "1"}


def copy_command(answers: str, template: str, again: bool = False) -> str:
    """The command that renders the port; ``again``: over the files of an interrupted copy."""
    source = template or template_source()
    local = (Path(source) / ".git").exists()
    version = ["--vcs-ref", "HEAD"] if local else []
    over = ["--overwrite"] if again else []
    return shlex.join(["copier", "copy", "--trust", "--defaults", *over, *version, "--data-file", answers, source, "."])


def own_python() -> str:
    """This Python if it has all that both sides need, else empty."""
    return sys.executable if all(map(importlib.util.find_spec, _NEEDED)) else ""


def last_line(done: subprocess.CompletedProcess) -> str:
    """The line that says why a command stopped: the command's own last line, otherwise the last one printed."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    own = [line.removeprefix(start) for line in lines for start in _OWN_ERRORS if line.startswith(start)]
    return format_error((own or lines)[-1]) if lines else f"exit code {done.returncode}"


def _without_uv(words: list[str]) -> list[str]:
    while words[0] == "--with":
        words = words[2:]
    if words[0] == "mflux-port":
        return ["-m", "mflux_port", *words[1:]]
    return words[1:] if words[0] == "python" else words
