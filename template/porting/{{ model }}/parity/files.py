"""Write a file or a folder in one piece: whatever ends the program, the old one stays or the new one is whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """What to write, a file or a folder: it replaces ``path`` in the end. After an error, ``path`` is as before."""
    part = part_of(path)
    remove(part)  # of a run that was killed
    try:
        yield part
        if part.is_dir():
            remove(path)
        part.replace(path)
    except BaseException as error:
        remove(part)
        name(error, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Like ``Path.write_text`` in UTF-8, in one piece."""
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


def part_of(path: Path) -> Path:
    """Where ``path`` is until it is whole."""
    return path.with_name(f"{path.name}.part")


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def name(error: BaseException | None, path: Path) -> None:
    """Add the file to an error of the system. An error while writing to an open file has none."""
    if isinstance(error, OSError) and error.errno and not error.filename:
        error.filename = str(path)
