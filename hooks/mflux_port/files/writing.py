"""Write one file whole: a reader, a kill or a full disk meets the old content or the new, never a part of it."""

from __future__ import annotations

import contextlib
import os
import stat

from mflux_port.errors import PortError


def write_whole(path: os.PathLike | str, text: str) -> None:
    """Replace the text of ``path``, or make the file. Links are followed; pipes and devices are written into.

    Raises PortError, with the file as it was, when it cannot be written.
    """
    target = os.path.realpath(path)
    temporary = beside(target)
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            write(target, text.encode())
            return
        replace(target, temporary, text.encode())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise cannot_write(path, error, "it is as it was") from None


def beside(target: str) -> str:
    """Where new content lies until it takes the place of ``target``."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.mflux-port")


def replace(target: str, temporary: str, data: bytes) -> None:
    """The two steps of one file: the new content beside it, then in its place. Raises OSError."""
    put_beside(target, temporary, data)
    os.replace(temporary, target)


def put_beside(target: str, temporary: str, data: bytes) -> None:
    """Write ``data`` to ``temporary``, with the permissions of ``target``. Raises OSError, as writing ``target`` would."""
    there = os.path.exists(target)
    if there and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", target)
    write(temporary, data)
    if there:
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))


def write(path: str, data: bytes) -> None:
    """Not synchronised: a kill loses nothing that is written, and git does not wait for the disk either."""
    try:
        with open(path, "wb") as handle:
            handle.write(data)
    except OSError as error:
        error.filename = error.filename or path  # a full disk says none
        raise


def cannot_write(where: os.PathLike | str, error: OSError, state: str) -> PortError:
    """The one line for a write that failed: where, why, and how things stand."""
    return PortError(f"{where} cannot be written ({error.strerror or error}); {state}; free it and run this again")
