"""Write several files as one: a lock, temporary files, a journal, ``os.replace``. A killed run is finished by the next."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mflux_port.checkout import state_dir
from mflux_port.errors import PortError
from mflux_port.parsing import parse_json
from mflux_port.writing import cannot_write, put_beside, write

_JOURNAL = "journal.json"
_INTENT = "intent.json"


@contextlib.contextmanager
def locked(root: Path) -> Iterator[str]:
    """Hold the checkout's lock; gives what was recovered from a killed run, or an empty string.

    The kernel drops the lock with the process. Raises PortError when another run holds it.
    """
    try:
        handle = open_lock(root, "lock")
    except OSError as error:
        raise _cannot(root, error, "nothing was changed") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PortError(f"another mflux-port run is at work in {root}; wait for it and run this again") from None
        except OSError as error:
            raise _cannot(root, error, "nothing was changed") from None
        try:
            said = recover(root)
        except OSError as error:
            raise _cannot(root, error, "a run that was interrupted is not finished yet") from None
        yield said


def open_lock(root: Path, name: str) -> TextIO:
    """The lock file ``name`` of a checkout, made where it is missing. Raises OSError."""
    home = state_dir(root)
    if not home.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        if home.parent.name == "porting":  # below a git tree's root: there it would show
            (home / ".gitignore").write_text("*\n", encoding="utf-8")
    return open(home / name, "a", encoding="utf-8")


def half_way(root: Path) -> bool:
    """Whether a run was killed while it changed files, and nothing has finished that yet."""
    return (state_dir(root) / _JOURNAL).exists()


def recover(root: Path) -> str:
    """Finish or undo what a killed run left. Returns what was done, or an empty string."""
    home = state_dir(root)
    journal, intent = _read(home / _JOURNAL), _read(home / _INTENT)
    if journal == []:
        raise PortError(f"{home / _JOURNAL} cannot be read; look at `git status`, remove that file and run this again")
    said = ""
    if journal is not None:
        changed = [entry["target"] for entry in journal if not _finish(root, entry)]
        said = f"finished a run that was interrupted ({len(journal)} files)"
        if changed:
            said += f"; left {', '.join(changed)} alone, which changed since: run that again"
    elif intent is not None:
        said = "took back a run that was interrupted before it changed a file"
    if said:
        _forget(root, [*(journal or ()), *(intent or ())])
    return said


def commit(root: Path, files: dict[str, bytes | None], originals: dict[str, bytes | None] | None = None) -> None:
    """Replace ``files`` (None removes one): all of them, or none when writing fails. The lock must be held.

    ``originals`` are the bytes that ``files`` were made from; without them, those of now. Raises PortError when a file
    cannot be written, is not as it was any more, lies outside the checkout, or is the same as another.
    """
    originals = originals or {name: _bytes(root / name) for name in files}
    files = {name: data for name, data in files.items() if data != originals[name]}
    if not files:
        return
    home = root.resolve()
    entries = [_entry(home, name, originals[name], data) for name, data in files.items()]
    _verify_apart(list(files), entries)
    try:
        _stage(root, entries, list(files.values()))
    except OSError as error:
        with contextlib.suppress(OSError):
            _forget(root, entries)
        raise _cannot(root, error, "nothing was changed") from None
    try:
        changed = next((entry["target"] for entry in entries if not _finish(root, entry)), None)
    except OSError as error:
        raise _cannot(root, error, _reverse(root, entries, [originals[name] for name in files])) from None
    if changed:
        state = _reverse(root, entries, [originals[name] for name in files])
        raise PortError(f"{changed} was changed by somebody else meanwhile; {state}; run this again")
    try:
        _forget(root, [])
    except OSError as error:
        raise _cannot(root, error, "all files are changed") from None


def _entry(root: Path, name: str, old: bytes | None, new: bytes | None) -> dict:
    target = (root / name).resolve()
    if not target.is_relative_to(root):
        raise PortError(f"{name} leads out of the checkout to {target}; replace the link by the file")
    relative = target.relative_to(root)
    temporary = relative.with_name(f".{relative.name}.mflux-port")
    return {"target": str(relative), "temporary": str(temporary), "old": _digest(old), "new": _digest(new)}


def _verify_apart(names: list[str], entries: list[dict]) -> None:
    seen: dict[str, str] = {}
    for name, entry in zip(names, entries, strict=True):
        other = seen.setdefault(entry["target"], name)
        if other != name:
            raise PortError(
                f"{other} and {name} are one file ({entry['target']}); replace the link by a file of its own"
            )


def _stage(root: Path, entries: list[dict], contents: list[bytes | None]) -> None:
    # After this the journal is there, and every new content beside its file.
    home = state_dir(root)
    write(home / _INTENT, json.dumps(entries).encode())
    for entry, data in zip(entries, contents, strict=True):
        if data is None:
            continue
        target, temporary = root / entry["target"], root / entry["temporary"]
        temporary.parent.mkdir(parents=True, exist_ok=True)
        put_beside(target, temporary, data)
    os.replace(home / _INTENT, home / _JOURNAL)


def _finish(root: Path, entry: dict) -> bool:
    # True when the file is as it should be. A file that somebody changed since the journal was written stays.
    target, temporary = root / entry["target"], root / entry["temporary"]
    now = _digest(_bytes(target))
    if now == entry["new"]:
        return True
    if now != entry["old"]:
        return False
    if entry["new"] is None:
        target.unlink()
    elif _digest(_bytes(temporary)) == entry["new"]:
        os.replace(temporary, target)
    else:
        return False
    return True


def _reverse(root: Path, entries: list[dict], originals: list[bytes | None]) -> str:
    # Takes back what is replaced already, with a journal of its own: a failure or a kill here is finished later. What is
    # not replaced yet stands in it too, since its new content has to be cleared away.
    back, contents = [], []
    for entry, original in zip(entries, originals, strict=True):
        replaced = _digest(_bytes(root / entry["target"])) == entry["new"]
        other = {"temporary": f"{entry['temporary']}-old", "old": entry["new"]} if replaced else {}
        back.append({**entry, **other, "new": entry["old"]})
        contents.append(original if replaced else None)
    try:
        _stage(root, back, contents)
        for entry in back:
            _finish(root, entry)
        _forget(root, [*entries, *back])
    except OSError:
        return "a part of the files is changed, and the next run of mflux-port completes that"
    return "nothing was changed"


def _forget(root: Path, entries: list[dict]) -> None:
    for entry in entries:
        (root / entry["temporary"]).unlink(missing_ok=True)
    for name in (_JOURNAL, _INTENT):
        (state_dir(root) / name).unlink(missing_ok=True)


def _cannot(root: Path, error: OSError, state: str) -> PortError:
    return cannot_write(error.filename or root, error, state)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _digest(data: bytes | None) -> str | None:
    # Tells an edit from none. Nobody hides one here, and a cryptographic hash costs more than reading all the files.
    return None if data is None else f"{len(data)}-{zlib.crc32(data):08x}-{zlib.adler32(data):08x}"


def _read(path: Path) -> list[dict] | None:
    try:
        entries = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return []  # killed while it was written: nothing had begun
    return entries if isinstance(entries, list) and all(map(_is_sound, entries)) else []


def _is_sound(entry: object) -> bool:
    # As `_entry` wrote it; a file that somebody changed must lead nowhere.
    if not isinstance(entry, dict) or entry.keys() != {"target", "temporary", "old", "new"}:
        return False
    names = [entry["target"], entry["temporary"]]
    return all(
        isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts for name in names
    )
