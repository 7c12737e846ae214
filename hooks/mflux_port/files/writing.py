"""Write one file atomically: after a kill or a full disk it has the old content or the new, never a part of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.paths import real_path


def write_whole(path: Path, text: str) -> None:
    """Replace the text of ``path``, or create the file. Follows links; writes directly into pipes and devices.

    Raises PortError when it cannot be written; the file is then unchanged.
    """
    target = real_path(path)
    temporary = temporary_path(target)
    try:
        if target.exists() and not target.is_file():
            write(target, text.encode())
            return
        write_temporary(target, temporary, text.encode())
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error, "it is unchanged") from None


def temporary_path(target: Path) -> Path:
    """The file for new content until it replaces ``target``: in the same folder, so that the replacement is atomic."""
    return target.with_name(f".{target.name}.mflux-port")


def write_temporary(target: Path, temporary: Path, data: bytes) -> None:
    """Write ``data`` to ``temporary``, with the permissions of ``target``.

    Raises OSError, also when ``target`` is not writable.
    """
    exists = target.exists()
    if exists and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(target))
    write(temporary, data)
    if exists:
        temporary.chmod(target.stat().st_mode & 0o7777)


def write(path: Path, data: bytes) -> None:
    """Write without fsync: a killed process loses nothing that it wrote, and git does not call fsync either."""
    try:
        path.write_bytes(data)
    except OSError as error:
        error.filename = error.filename or str(path)  # an error about a full disk has no file name
        raise


def cannot_write(path: Path | str, error: OSError, state: str) -> PortError:
    """The one-line error for a failed write: where, why, and what state the files are in."""
    return PortError(f"{path} cannot be written ({error.strerror or error}); {state}; fix the cause and run this again")
