"""Write several files as one: a lock, temporary files, a journal, then renames. The next run finishes a killed one.

First the intent lists what will be written, then each new text is put next to its file. Renaming the intent makes it
the journal: a run killed after that is finished by the next run, a run killed before it is undone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TextIO

from mflux_port.checkout.tree import read_bytes, state_dir
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_json
from mflux_port.files.paths import real_path
from mflux_port.files.writing import cannot_write, temporary_path, write, write_temporary

_JOURNAL = "journal.json"
_INTENT = "intent.json"


class _Change(NamedTuple):
    """One file: its path and that of its new content, relative to the checkout, and digests (None:
    the file is absent).
    """

    target: str
    temporary: str
    old: str | None
    new: str | None


@contextlib.contextmanager
def locked(root: Path) -> Iterator[str]:
    """Hold the checkout's lock; yields a line about what was recovered from a killed run, or an empty string.

    The kernel releases the lock when the process ends. Raises PortError when another run holds it.
    """
    try:
        handle = open_lock(root, "lock")
    except OSError as error:
        raise _cannot(root, error, "nothing was changed") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PortError(f"another mflux-port run is active in {root}; wait for it and run this again") from None
        except OSError as error:
            raise _cannot(root, error, "nothing was changed") from None
        try:
            recovered = recover(root)
        except OSError as error:
            raise _cannot(root, error, "a run that was interrupted is not finished yet") from None
        yield recovered


def open_lock(root: Path, name: str) -> TextIO:
    """The lock file ``name`` of a checkout, created if it is missing. Raises OSError."""
    folder = state_dir(root)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if is_outside_git(root):
            write(folder / ".gitignore", b"*\n")
    return (folder / name).open("a", encoding="utf-8")


def is_outside_git(root: Path) -> bool:
    """Whether locks and journal are kept among the checkout's own files, because it has no ``.git``."""
    return state_dir(root) == root / "porting" / "mflux-port"


def is_unfinished(root: Path) -> bool:
    """Whether a run was killed while it replaced files, and no later run has finished that."""
    return (state_dir(root) / _JOURNAL).exists()


def recover(root: Path) -> str:
    """Finish or undo the changes of a killed run. Returns a line about what was done, or an empty string."""
    path = state_dir(root) / _JOURNAL
    journal, intent = _read(path), _read(state_dir(root) / _INTENT)
    if journal == []:
        raise PortError(f"{path} cannot be read; check `git status`, remove that file and run this again")
    if journal is None and intent is None:
        return ""
    done = (
        "rolled back a run that was interrupted before it changed a file" if journal is None else _redo(root, journal)
    )
    _forget(root, [*(journal or ()), *(intent or ())])
    return done


def commit(root: Path, files: dict[str, bytes | None], originals: dict[str, bytes | None] | None = None) -> None:
    """Replace ``files`` (None removes one): all of them, or none when writing fails. The lock must be held.

    ``originals`` are the bytes that ``files`` were computed from; the default is the current ones. Raises PortError
    when a file cannot be written, has changed since, is outside the checkout, or is the same file as another.
    """
    originals = originals or {name: read_bytes(root / name) for name in files}
    files = {name: data for name, data in files.items() if data != originals[name]}
    if not files:
        return
    home = real_path(root)
    changes = [_change(home, name, originals[name], data) for name, data in files.items()]
    _verify_distinct(list(files), changes)
    try:
        _stage(root, changes, list(files.values()))
    except OSError as error:
        with contextlib.suppress(OSError):
            _forget(root, changes)
        raise _cannot(root, error, "nothing was changed") from None
    _replace_all(root, changes, [originals[name] for name in files])
    try:
        _forget(root, [])
    except OSError as error:
        raise _cannot(root, error, "all files are changed") from None


def _change(home: Path, name: str, old: bytes | None, new: bytes | None) -> _Change:
    target = real_path(home / name)
    if not target.is_relative_to(home):
        raise PortError(f"{name} is a link to a place outside the checkout: {target}; replace the link with the file")
    paths = (path.relative_to(home).as_posix() for path in (target, temporary_path(target)))
    return _Change(*paths, _digest(old), _digest(new))


def _verify_distinct(names: list[str], changes: list[_Change]) -> None:
    seen: dict[str, str] = {}
    for name, change in zip(names, changes, strict=True):
        other = seen.setdefault(change.target, name)
        if other != name:
            raise PortError(f"{other} and {name} are one file ({change.target}); replace the link with a regular file")


def _stage(root: Path, changes: list[_Change], contents: list[bytes | None]) -> None:
    # Afterwards the journal exists, and each new text is next to its file.
    intent = state_dir(root) / _INTENT
    write(intent, json.dumps([change._asdict() for change in changes]).encode())
    for change, data in zip(changes, contents, strict=True):
        if data is None:
            continue
        temporary = root / change.temporary
        temporary.parent.mkdir(parents=True, exist_ok=True)
        write_temporary(root / change.target, temporary, data)
    intent.replace(intent.with_name(_JOURNAL))


def _replace_all(root: Path, changes: list[_Change], originals: list[bytes | None]) -> None:
    try:
        changed = next((change.target for change in changes if not _apply(root, change, verified=True)), None)
    except OSError as error:
        raise _cannot(root, error, _roll_back(root, changes, originals)) from None
    if changed:
        state = _roll_back(root, changes, originals)
        raise PortError(f"{changed} was changed by another program during this run; {state}; run this again")


def _redo(root: Path, journal: list[_Change]) -> str:
    skipped = [change.target for change in journal if not _apply(root, change)]
    done = f"finished a run that was interrupted ({len(journal)} files)"
    if skipped:
        done += f"; skipped {', '.join(skipped)}, which have changed since; run that command again"
    return done


def _apply(root: Path, change: _Change, verified: bool = False) -> bool:
    # Returns True when the file has its new content. A file that changed since the journal was written is left alone.
    # Temporary files are ``verified`` when this process wrote them; another process may have been killed while it wrote
    # one.
    target, temporary = root / change.target, root / change.temporary
    current = _digest(read_bytes(target))
    if current == change.new:
        return True
    if current != change.old:
        return False
    if change.new is None:
        target.unlink()
    elif verified or _digest(read_bytes(temporary)) == change.new:
        temporary.replace(target)
    else:
        return False
    return True


def _roll_back(root: Path, changes: list[_Change], originals: list[bytes | None]) -> str:
    # Undoing has its own journal, so that the next run finishes it after a failure or a kill. Files that are not
    # replaced yet are listed in it as well, because their temporary files have to be removed.
    back, contents = [], []
    for change, original in zip(changes, originals, strict=True):
        if _digest(read_bytes(root / change.target)) == change.new:
            back.append(_Change(change.target, f"{change.temporary}-old", old=change.new, new=change.old))
            contents.append(original)
        else:
            back.append(change._replace(new=change.old))
            contents.append(None)
    try:
        _stage(root, back, contents)
        for change in back:
            _apply(root, change)
        _forget(root, [*changes, *back])
    except OSError:
        return "some of the files are changed, and the next run of mflux-port completes that"
    return "nothing was changed"


def _forget(root: Path, changes: list[_Change]) -> None:
    names = [root / change.temporary for change in changes]
    for path in (*names, state_dir(root) / _JOURNAL, state_dir(root) / _INTENT):
        path.unlink(missing_ok=True)


def _cannot(root: Path, error: OSError, state: str) -> PortError:
    return cannot_write(error.filename or root, error, state)


def _digest(data: bytes | None) -> str | None:
    import hashlib  # a run that writes nothing does not need it

    return None if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


def _read(path: Path) -> list[_Change] | None:
    # Returns None without a file, and an empty list for content that ``_stage`` does not write, such as a partial file
    # from a killed run.
    data = read_bytes(path)
    if data is None:
        return None
    try:
        entries = parse_json(data)
    except ValueError:
        return []
    valid = isinstance(entries, list) and all(map(_is_valid, entries))
    return [_Change(**entry) for entry in entries] if valid else []


def _is_valid(entry: object) -> bool:
    # A journal that was edited must not name a file outside the checkout.
    if not isinstance(entry, dict) or entry.keys() != {"target", "temporary", "old", "new"}:
        return False
    names = [entry["target"], entry["temporary"]]
    return all(isinstance(name, str) and _is_below(PurePosixPath(name)) for name in names)


def _is_below(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts
