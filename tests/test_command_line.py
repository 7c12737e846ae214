"""The rules for all commands: exit codes, one line for wrong input, heavy imports only where needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mflux_port import __version__, cli
from mflux_port.cli import COMMANDS

HEAVY = ("mlx", "numpy", "safetensors", "copier", "huggingface_hub", "PIL", "torch", "yaml", "jinja2")


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])

    assert stop.value.code == 0
    assert capsys.readouterr().out == f"mflux-port {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])

    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--checkout PATH" in said and "--json" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    program = f"""
import sys
from mflux_port import cli
try:
    cli.main([{command!r}, "--help"])
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr == "[]\n"
