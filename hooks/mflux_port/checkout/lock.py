"""Allow one run at a time in a checkout. The kernel releases the lock when the process ends, so a crash leaves none.

A ``copier update`` that the user types holds no lock between its steps; its note names the process instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mflux_port.checkout.transaction import is_outside_git, is_unfinished, locked, open_lock
from mflux_port.checkout.tree import state_dir
from mflux_port.errors import PortError
from mflux_port.files.writing import cannot_write

_LOCK = "run.lock"
_POLL = 0.05  # seconds


@contextlib.contextmanager
def exclusive(root: Path, patience: float = 0) -> Iterator[str]:
    """Lock the checkout for a run that writes; yields what was recovered from a killed run, or an empty string.

    Raises PortError when another run is still active there after ``patience`` seconds.
    """
    try:
        handle = open_lock(root, _LOCK)
    except OSError as error:
        raise cannot_write(error.filename or root, error, "nothing was changed") from None
    with handle:
        _acquire(handle, fcntl.LOCK_EX, root, patience)
        with locked(root) as recovered:
            pass
        if recovered:
            print(recovered, file=sys.stderr)
        yield recovered


@contextlib.contextmanager
def shared(root: Path) -> Iterator[None]:
    """Keep writers out during a run that reads.

    Raises PortError while one writes, or when one was killed before it had written all of its files.
    """
    with _reader_lock(root) as handle:
        if handle:
            _acquire(handle, fcntl.LOCK_SH, root)
        if is_unfinished(root):
            raise PortError(
                f"a run was killed in {root} and did not write all of its files; run that command again first "
                "to finish them"
            )
        yield


def update_note(root: Path) -> Path:
    """The note of an update in progress."""
    return state_dir(root) / "update.json"


def under_way(root: Path) -> dict | None:
    """The note of the update that began in the checkout and has not ended; None if there is none.

    Among its fields are ``model``, ``head`` (the commit it began at), ``pid`` and ``started`` (see ``process_start``).
    """
    try:
        note = json.loads(update_note(root).read_bytes())
    except (OSError, ValueError):
        return None
    if isinstance(note, dict) and "born" in note:  # notes written by older versions lack the field
        note["started"] = note.pop("born")
    return note if isinstance(note, dict) and {"model", "head", "pid", "started"} <= note.keys() else None


def process_start(pid: int) -> str:
    """When a process started, in the system's own units; empty if it is not running."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if facts[0] == "Z" else facts[19]
    except (OSError, IndexError):
        return _process_start_by_ps(pid)  # macOS has no /proc


def _process_start_by_ps(pid: int) -> str:
    try:
        shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
    except OSError:
        return ""
    state, _, started = shown.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def _reader_lock(root: Path) -> contextlib.AbstractContextManager[TextIO | None]:
    # Nothing can write to a read-only checkout; outside git, a reader creates no files.
    if is_outside_git(root) and not state_dir(root).is_dir():
        return contextlib.nullcontext()
    try:
        return open_lock(root, _LOCK)
    except OSError:
        return contextlib.nullcontext()


def _acquire(handle: TextIO, kind: int, root: Path, patience: float = 0) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            busy = _running_update(root)
        except BlockingIOError:
            busy = "another mflux-port run is"
        except OSError as error:
            raise cannot_write(handle.name, error, "nothing was changed") from None
        if not busy:
            return
        if time.monotonic() >= end:
            raise PortError(f"{busy} active in {root}; wait for it and run this again")
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(_POLL)


def _running_update(root: Path) -> str:
    # Empty for an update whose process is gone: `update --restore` rolls that back.
    note = under_way(root)
    if not note or note["pid"] == os.getpid() or not note["started"] or process_start(note["pid"]) != note["started"]:
        return ""
    return f"an update of {note['model']} (process {note['pid']}) is"
