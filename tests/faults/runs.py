"""Run the porter's commands in forks of this process, each with its own fault."""

from __future__ import annotations

import ctypes
import os
import runpy
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults import injection
from tests.faults.injection import Fault

_SITE = Path(__file__).with_name("site")
_HOOKS = Path(__file__).resolve().parents[2] / "hooks"
_LIMIT = 300  # seconds; enough even on a busy machine


class Outcome(NamedTuple):
    """A run's outcome.

    ``status``: exit code, or minus the signal. ``counted``: disk accesses or writes, ``hits``: faults.
    """

    status: int
    out: str
    err: str
    counted: int
    hits: list[str]
    seconds: float

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


def mflux_port(*arguments: object) -> Callable[[], int]:
    """Run ``mflux-port`` as a user does."""

    def act() -> int:
        from mflux_port.cli import main

        return main(list(map(str, arguments)))

    return act


def copier(*arguments: object) -> Callable[[], int]:
    """Run ``copier`` as a user does."""

    def act() -> int:
        sys.argv = ["copier", *map(str, arguments)]
        try:
            runpy.run_module("copier", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return act


def run(act: Callable[[], int], root: Path, **fault) -> Outcome:
    """Run to the end. ``fault``: fields of ``Fault``; without ``at`` the disk accesses are only counted."""
    return Run(act, root, **fault).end()


class Run:
    """A running command in its own process group. Call ``end`` or ``kill_after``."""

    def __init__(self, act: Callable[[], int], root: Path, **fault):
        _adopt_orphans()
        self._folder = tempfile.TemporaryDirectory(prefix="faults-")
        self._out, self._err, self._log, self._hits = (
            Path(self._folder.name, name) for name in ("out", "err", "log", "hits")
        )
        for path in (self._out, self._err, self._log, self._hits):
            path.touch()
        gate = Path(self._folder.name, "gate")
        for name in (".reached", ".go"):
            os.mkfifo(f"{gate}{name}")
        self._gate = gate
        self._reached = os.open(
            f"{gate}.reached", os.O_RDWR | os.O_NONBLOCK
        )  # this process can write to the pipe, so that reading it never ends
        whole = Fault(**{"below": str(root), "log": str(self._log), "hits": str(self._hits), "gate": str(gate)} | fault)
        self._alive, alive = os.pipe()
        self._began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(act, root, whole)
        os.close(alive)
        try:
            os.setpgid(self.pid, self.pid)  # both parent and child call this, because either may run first
        except (PermissionError, ProcessLookupError):
            pass

    def reaches_its_pause(self) -> bool:
        """Wait until the run is at its gate. False when it ended before."""
        ready, _, _ = select.select([self._alive, self._reached], [], [], _LIMIT)
        assert ready, "the run neither paused nor ended"
        return self._reached in ready

    def go_on(self) -> None:
        """Let a run at its gate continue."""
        os.close(os.open(f"{self._gate}.go", os.O_WRONLY))

    def kill_after(self, seconds: float) -> Outcome:
        """Kill the whole process group after ``seconds``, unless it has ended."""
        if not select.select([self._alive], [], [], seconds)[0]:
            os.killpg(self.pid, signal.SIGKILL)
        return self.end()

    def end(self) -> Outcome:
        """Wait for the run and for all that it started."""
        ended = select.select([self._alive], [], [], _LIMIT)[0]
        seconds = time.monotonic() - self._began
        if not ended:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        _wait_for_group(self.pid)
        os.close(self._alive)
        os.close(self._reached)
        with self._folder:
            assert ended, f"the run hangs: {self._err.read_text()}"
            hits = self._hits.read_text().splitlines()
            return Outcome(
                os.waitstatus_to_exitcode(status),
                self._out.read_text(errors="replace"),
                self._err.read_text(errors="replace"),
                self._log.stat().st_size,
                hits,
                seconds,
            )

    def _become(self, act: Callable[[], int], root: Path, fault: Fault) -> None:
        status = 99
        try:
            os.setpgid(0, 0)
            self._redirect()
            os.chdir(root)
            _set_environment(fault, self._folder.name)
            injection.arm(fault.encoded())
            status = act()
        except BaseException:  # noqa: BLE001 - the parent prints it
            status = 98
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def _redirect(self) -> None:
        for number, path in ((1, self._out), (2, self._err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", buffering=1, closefd=False)


def _set_environment(fault: Fault, scratch: str) -> None:
    changed = {
        "TMPDIR": scratch,  # so that a killed run's temporary files are removed with the run's folder
        "MFLUX_PORT_TESTS_FAULT": fault.encoded(),
        "PYTHONPATH": os.pathsep.join([str(_SITE), str(_HOOKS)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.environ.update(changed)
    tempfile.tempdir = None  # removed, so that it is read again
    if "plumbum" in sys.modules:  # Copier's processes get the environment that plumbum read when it was imported
        from plumbum import local

        local.env.update(changed)


def _adopt_orphans() -> None:
    # On Linux, adopt the children of a killed process, so that this process can wait for them.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _wait_for_group(group: int) -> None:
    while True:
        try:
            if sys.platform == "linux":
                os.waitpid(-group, 0)
            else:
                os.killpg(group, 0)
                time.sleep(0.01)
        except (ChildProcessError, ProcessLookupError, PermissionError):
            return
