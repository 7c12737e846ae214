"""Write one file whole: a reader, a kill or a full disk meets the old content or the new, never a part of it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from mflux_port.errors import PortError


def write_whole(path: Path, text: str) -> None:
    """Replace the text of ``path``, or make the file. Links are followed; pipes and devices are written into.

    Raises PortError, with the file as it was, when it cannot be written.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.mflux-port")
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        replace(target, temporary, text.encode())
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error, "it is as it was") from None


def replace(target: Path, temporary: Path, data: bytes) -> None:
    """The two steps of one file: the new content beside it, then in its place. Raises OSError."""
    put_beside(target, temporary, data)
    os.replace(temporary, target)


def put_beside(target: Path, temporary: Path, data: bytes) -> None:
    """Write ``data`` to ``temporary``, with the permissions of ``target``. Raises OSError, as writing ``target`` would."""
    there = target.exists()
    if there and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(target))
    write(temporary, data)
    if there:
        os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))


def write(path: Path, data: bytes) -> None:
    """Not synchronised: a kill loses nothing that is written, and git does not wait for the disk either."""
    with open(path, "wb") as handle:
        handle.write(data)


def cannot_write(where: Path, error: OSError, state: str) -> PortError:
    """The one line for a write that failed: where, why, and how things stand."""
    return PortError(f"{where} cannot be written ({error.strerror or error}); {state}; free it and run this again")
