"""One run at a time in a checkout. The kernel drops the lock with the process, so that a crash leaves none behind.

``copier update`` typed by itself holds no lock between its steps; the note that it leaves names its process instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from mflux_port.checkout.transaction import half_way, locked, open_lock, shows
from mflux_port.checkout.tree import state_dir
from mflux_port.errors import PortError
from mflux_port.files.writing import cannot_write

_LOCK = "run.lock"


@contextlib.contextmanager
def exclusive(root: os.PathLike | str, patience: float = 0) -> Iterator[str]:
    """Hold the checkout for a run that writes; gives what was recovered from a killed run, or an empty string.

    Raises PortError when another run is still at work there after ``patience`` seconds.
    """
    try:
        handle = open_lock(root, _LOCK)
    except OSError as error:
        raise cannot_write(error.filename or root, error, "nothing was changed") from None
    with handle:
        _take(handle, fcntl.LOCK_EX, root, patience)
        with locked(root) as recovered:
            pass
        if recovered:
            print(recovered, file=sys.stderr)
        yield recovered


@contextlib.contextmanager
def shared(root: os.PathLike | str) -> Iterator[None]:
    """Keep writers away from a run that only reads. Raises PortError beside a writer, and behind one that was killed."""
    with _reader_lock(root) as handle:
        if handle:
            _take(handle, fcntl.LOCK_SH, root)
        if half_way(root):
            raise PortError(
                f"a run was killed in {root} and left its files half-way; run that again first, it finishes them"
            )
        yield


def update_note(root: os.PathLike | str) -> str:
    """Where the note of an update under way lies."""
    return os.path.join(state_dir(root), "update.json")


def under_way(root: os.PathLike | str) -> dict | None:
    """The update that began in the checkout and did not end: its model, the commit it began at, its process."""
    try:
        with open(update_note(root), "rb") as file:
            note = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and {"model", "head", "pid", "born"} <= note.keys() else None


def process_start(pid: int) -> str:
    """When a process began, in the system's own words; empty when it does not run."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            facts = file.read().rpartition(")")[2].split()
        return "" if facts[0] == "Z" else facts[19]
    except (OSError, IndexError):
        pass
    import subprocess  # no /proc: macOS

    try:
        shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
    except OSError:
        return ""
    state, _, began = shown.strip().partition(" ")
    return "" if state.startswith("Z") else began.strip()


def _reader_lock(root: os.PathLike | str) -> contextlib.AbstractContextManager[TextIO | None]:
    # A checkout that cannot be written has no writer; outside git nothing is made for a reader.
    if shows(root) and not os.path.isdir(state_dir(root)):
        return contextlib.nullcontext()
    try:
        return open_lock(root, _LOCK)
    except OSError:
        return contextlib.nullcontext()


def _take(handle: TextIO, kind: int, root: os.PathLike | str, patience: float = 0) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            busy = _updating(root)
        except BlockingIOError:
            busy = "another mflux-port run is"
        except OSError as error:
            raise cannot_write(handle.name, error, "nothing was changed") from None
        if not busy:
            return
        if time.monotonic() >= end:
            raise PortError(f"{busy} at work in {root}; wait for it and run this again")
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(0.05)


def _updating(root: os.PathLike | str) -> str:
    # Says nothing of an update whose process is gone: what it left is given back by `update --restore`.
    note = under_way(root)
    if not note or note["pid"] == os.getpid() or not note["born"] or process_start(note["pid"]) != note["born"]:
        return ""
    return f"an update of {note['model']} (process {note['pid']}) is"
