"""Write several files as one: a lock, temporary files, a journal, ``os.replace``. A killed run is finished by the next."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from typing import TextIO

from mflux_port.checkout.tree import lies_in, state_dir
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_json
from mflux_port.files.writing import beside, cannot_write, put_beside, write

_JOURNAL = "journal.json"
_INTENT = "intent.json"


@contextlib.contextmanager
def locked(root: os.PathLike | str) -> Iterator[str]:
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


def open_lock(root: os.PathLike | str, name: str) -> TextIO:
    """The lock file ``name`` of a checkout, made where it is missing. Raises OSError."""
    home = state_dir(root)
    if not os.path.isdir(home):
        os.makedirs(home, exist_ok=True)
        if shows(root):
            write(os.path.join(home, ".gitignore"), b"*\n")
    return open(os.path.join(home, name), "a", encoding="utf-8")


def shows(root: os.PathLike | str) -> bool:
    """Whether locks and journal lie among the checkout's own files, for want of a ``.git``."""
    return state_dir(root) == os.path.join(root, "porting", "mflux-port")


def half_way(root: os.PathLike | str) -> bool:
    """Whether a run was killed while it changed files, and nothing has finished that yet."""
    return os.path.exists(os.path.join(state_dir(root), _JOURNAL))


def recover(root: os.PathLike | str) -> str:
    """Finish or undo what a killed run left. Returns what was done, or an empty string."""
    place = os.path.join(state_dir(root), _JOURNAL)
    journal, intent = _read(place), _read(os.path.join(state_dir(root), _INTENT))
    if journal == []:
        raise PortError(f"{place} cannot be read; look at `git status`, remove that file and run this again")
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


def commit(
    root: os.PathLike | str, files: dict[str, bytes | None], originals: dict[str, bytes | None] | None = None
) -> None:
    """Replace ``files`` (None removes one): all of them, or none when writing fails. The lock must be held.

    ``originals`` are the bytes that ``files`` were made from; without them, those of now. Raises PortError when a file
    cannot be written, is not as it was any more, lies outside the checkout, or is the same as another.
    """
    originals = originals or {name: _bytes(os.path.join(root, name)) for name in files}
    files = {name: data for name, data in files.items() if data != originals[name]}
    if not files:
        return
    home = os.path.realpath(root)
    entries = [_entry(home, name, originals[name], data) for name, data in files.items()]
    _verify_apart(list(files), entries)
    try:
        _stage(root, entries, list(files.values()))
    except OSError as error:
        with contextlib.suppress(OSError):
            _forget(root, entries)
        raise _cannot(root, error, "nothing was changed") from None
    try:
        changed = next((entry["target"] for entry in entries if not _finish(root, entry, staged=True)), None)
    except OSError as error:
        raise _cannot(root, error, _reverse(root, entries, [originals[name] for name in files])) from None
    if changed:
        state = _reverse(root, entries, [originals[name] for name in files])
        raise PortError(f"{changed} was changed by somebody else meanwhile; {state}; run this again")
    try:
        _forget(root, [])
    except OSError as error:
        raise _cannot(root, error, "all files are changed") from None


def _entry(home: str, name: str, old: bytes | None, new: bytes | None) -> dict:
    target = os.path.realpath(os.path.join(home, name))
    if not lies_in(target, home):
        raise PortError(f"{name} leads out of the checkout to {target}; replace the link by the file")
    relative = os.path.relpath(target, home)
    return {"target": relative, "temporary": beside(relative), "old": _digest(old), "new": _digest(new)}


def _verify_apart(names: list[str], entries: list[dict]) -> None:
    seen: dict[str, str] = {}
    for name, entry in zip(names, entries, strict=True):
        other = seen.setdefault(entry["target"], name)
        if other != name:
            raise PortError(
                f"{other} and {name} are one file ({entry['target']}); replace the link by a file of its own"
            )


def _stage(root: os.PathLike | str, entries: list[dict], contents: list[bytes | None]) -> None:
    # After this the journal is there, and every new content beside its file.
    intent = os.path.join(state_dir(root), _INTENT)
    write(intent, json.dumps(entries).encode())
    for entry, data in zip(entries, contents, strict=True):
        if data is None:
            continue
        target, temporary = _paths(root, entry)
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        put_beside(target, temporary, data)
    os.replace(intent, os.path.join(state_dir(root), _JOURNAL))


def _finish(root: os.PathLike | str, entry: dict, staged: bool = False) -> bool:
    # True when the file is as it should be. A file that somebody changed since the journal was written stays. What this
    # process has ``staged`` is whole; what another one left is looked at first.
    target, temporary = _paths(root, entry)
    now = _digest(_bytes(target))
    if now == entry["new"]:
        return True
    if now != entry["old"]:
        return False
    if entry["new"] is None:
        os.unlink(target)
    elif staged or _digest(_bytes(temporary)) == entry["new"]:
        os.replace(temporary, target)
    else:
        return False
    return True


def _reverse(root: os.PathLike | str, entries: list[dict], originals: list[bytes | None]) -> str:
    # Takes back what is replaced already, with a journal of its own: a failure or a kill here is finished later. What is
    # not replaced yet stands in it too, since its new content has to be cleared away.
    back, contents = [], []
    for entry, original in zip(entries, originals, strict=True):
        replaced = _digest(_bytes(_paths(root, entry)[0])) == entry["new"]
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


def _forget(root: os.PathLike | str, entries: list[dict]) -> None:
    for entry in entries:
        _remove(_paths(root, entry)[1])
    for name in (_JOURNAL, _INTENT):
        _remove(os.path.join(state_dir(root), name))


def _paths(root: os.PathLike | str, entry: dict) -> tuple[str, str]:
    return os.path.join(root, entry["target"]), os.path.join(root, entry["temporary"])


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _cannot(root: os.PathLike | str, error: OSError, state: str) -> PortError:
    return cannot_write(error.filename or root, error, state)


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


def _read(path: str) -> list[dict] | None:
    data = _bytes(path)
    if data is None:
        return None
    try:
        entries = parse_json(data)
    except ValueError:
        return []  # killed while it was written: nothing had begun
    return entries if isinstance(entries, list) and all(map(_is_sound, entries)) else []


def _is_sound(entry: object) -> bool:
    # As `_entry` wrote it; a file that somebody changed must lead nowhere.
    if not isinstance(entry, dict) or entry.keys() != {"target", "temporary", "old", "new"}:
        return False
    names = [entry["target"], entry["temporary"]]
    return all(isinstance(name, str) and not os.path.isabs(name) and ".." not in name.split("/") for name in names)
