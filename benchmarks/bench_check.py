"""``mflux-port check``: CPU time for one port, for every port of a release, and with twenty ports of this template."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import copier
from mflux_port import checks
from mflux_port.checkout import releases
from mflux_port.template.project import project_root

from benchmarks.measure import Row, silence

CROWD, ROUNDS = 20, 3
HOOKS = Path(checks.__file__).resolve().parents[2]
SCRIPT = "from mflux_port.__main__ import run; run()"  # started like the installed command


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        released = releases.checkout(releases.NEWEST, Path(scratch, "released"))
        single, crowded = (shutil.copytree(released, Path(scratch, name)) for name in ("single", "crowded"))
        _copy(single, "member00")
        for number in range(CROWD):
            _copy(crowded, f"member{number:02}")
        bytecode = Path(scratch, "bytecode")
        one = _seconds(bytecode, single, "member00")
        return [
            Row("check of one port", one, "s", 1),
            Row("check of one port, `--merge`", _seconds(bytecode, single, "member00", "--merge"), "s", 1),
            Row(f"check of every port of mflux {releases.NEWEST}", _seconds(bytecode, released), "s", 5),
            Row(f"check of {CROWD} ports of this template, and of mflux's own", _seconds(bytecode, crowded), "s"),
            # The shared files are longer but read once, so a port among many takes hardly longer than a port alone.
            Row(
                f"check of one port with {CROWD} there / with 1",
                _seconds(bytecode, crowded, "member00") / one,
                "×",
                1.5,
            ),
        ]


def _seconds(bytecode: Path, root: Path, *arguments: str) -> float:
    """CPU seconds of the command, including the interpreter's start: the lowest of several rounds after a warm-up."""
    env = {**os.environ, "PYTHONPATH": str(HOOKS), "PYTHONPYCACHEPREFIX": str(bytecode)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # compile once, like an installed package
    taken = []
    for _ in range(ROUNDS + 1):
        before = _children()
        command = [sys.executable, "-c", SCRIPT, "check", *arguments]
        done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.DEVNULL)
        if done.returncode not in (0, 1):  # exit code 1: some rows fail in every release
            raise RuntimeError(f"mflux-port check {' '.join(arguments)} ended with {done.returncode}")
        taken.append(_children() - before)
    return min(taken[1:])


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _copy(root: Path, model: str) -> None:
    answers = {"model": model, "hf_repo": f"org/{model.title()}"}
    with warnings.catch_warnings(), silence():
        warnings.simplefilter("ignore")  # the template's own tree may be dirty
        copier.run_copy(str(project_root()), root, data=answers, defaults=True, unsafe=True, quiet=True, vcs_ref="HEAD")
