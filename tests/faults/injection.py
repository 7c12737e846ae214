"""Inject faults into a run: at the nth disk access, or within the nth write, in any process of the run.

Imports only the standard library: ``site/sitecustomize.py`` loads this in every Python that a run starts.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

_TOUCHING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Fault:
    """The fault, and where it happens.

    ``where``: ``touch`` (anything that changes a folder or opens a file for writing, and every process that is started)
    or ``write`` (the raw writes into files). ``at``: the number of the access or write, from 0; -1 only counts.
    ``how``: ``kill`` takes the whole process group, ``kill one`` the process that reached it, ``pause`` waits at
    ``gate``, a number is an errno. ``lasting``: the fault repeats from there on. ``below``: only paths below this one
    count; ``on``: only paths that end in this. ``log``: a file with one byte for each touch or write that counted;
    ``hits``: a file with a line for each fault.
    """

    below: str
    log: str
    hits: str
    where: str = "touch"
    at: int = -1
    on: str = ""
    how: str | int = "kill"
    lasting: bool = False
    gate: str = ""

    def encoded(self) -> str:
        return json.dumps(asdict(self))


def arm(encoded: str) -> None:
    """Arm the fault in this process, permanently."""
    fault = Fault(**json.loads(encoded))
    counter = _Counter(fault)
    if fault.where == "write":
        _count_writes(counter)
    else:
        sys.addaudithook(lambda event, arguments: _on_event(counter, event, arguments))


class _Counter:
    def __init__(self, fault: Fault):
        self._fault = fault
        self._log = os.open(fault.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._hits = os.open(fault.hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def counts(self, path: object) -> bool:
        if isinstance(path, int):
            return False
        name = os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(path)))
        below = name == self._fault.below or name.startswith(self._fault.below + os.sep)
        return below and name.endswith(self._fault.on)

    def due(self) -> bool:
        os.write(self._log, b".")
        nth = os.fstat(self._log).st_size - 1
        fault = self._fault
        return fault.at >= 0 and (nth == fault.at or fault.lasting and nth > fault.at)

    def happen(self, what: str, path: object) -> None:
        os.write(self._hits, f"{what} {path}\n".encode())
        how = self._fault.how
        if how == "kill":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        elif how == "kill one":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "pause":
            _wait_at(self._fault.gate)
        else:
            raise OSError(how, os.strerror(how), os.fsdecode(path))


def _on_event(counter: _Counter, event: str, arguments: tuple) -> None:
    if event == "subprocess.Popen":
        # A failing disk does not stop a process from starting.
        if isinstance(counter._fault.how, str) and not counter._fault.on and counter.due():
            counter.happen(event, arguments[0])
        return
    if event == "open" and not arguments[2] & _WRITING or event != "open" and event not in _TOUCHING:
        return
    path = arguments[0]
    if event in ("os.remove", "os.rmdir") and arguments[-1] != -1:  # a name relative to the folder of a descriptor
        path = os.path.join(_folder_of(arguments[-1]), os.fsdecode(path))
    if counter.counts(path) and counter.due():
        counter.happen(event, path)


def _folder_of(descriptor: int) -> str:
    if sys.platform == "linux":
        return os.readlink(f"/proc/self/fd/{descriptor}")
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode()


def _count_writes(counter: _Counter) -> None:
    class Disk(io.FileIO):
        def write(self, data) -> int:
            if counter.due():
                view = memoryview(data).cast("B")
                super().write(view[: len(view) // 2])
                counter.happen("write", self.name)
            return super().write(data)

    builtins.open = io.open = _opening(Disk, counter)


def _opening(disk: type, counter: _Counter) -> Callable:
    whole = io.open

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set("wax") or "+" in mode or not counter.counts(file):
            return whole(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = disk(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return opened


def _wait_at(gate: str) -> None:
    reached = os.open(f"{gate}.reached", os.O_WRONLY)
    os.write(reached, b".")
    os.close(reached)
    os.close(os.open(f"{gate}.go", os.O_RDONLY))
