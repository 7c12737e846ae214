"""The contracts that all commands share: exit codes, one line for wrong input, heavy imports only where needed."""

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


@pytest.mark.parametrize(
    "arguments", [[], ["wier"], ["wire"], ["wire", "foo", "--drry-run"], ["demo", "--into"]], ids=" ".join
)
def test_wrong_arguments_are_one_line(arguments, capsys):
    assert cli.main(arguments) == 2

    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "--help" in captured.err


@pytest.mark.parametrize("command", ["wire", "unwire"])
def test_folder_that_is_no_checkout(command, capsys, tmp_path):
    assert cli.main([command, "foo", "--checkout", str(tmp_path)]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


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
