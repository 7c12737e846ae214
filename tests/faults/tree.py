"""The files of a checkout by hash, and how to restore an earlier state of them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

State = dict[str, str]
_STORE: dict[str, bytes] = {}  # the content of every hash, shared by all trees


class Tree:
    """Everything below ``root`` except git's own folder, ignored files too."""

    def __init__(self, root: Path):
        self.root = root
        self._seen: dict[str, tuple[tuple, str]] = {}

    def state(self) -> State:
        """Hash and permissions by path; a link counts with its target. Reads only files with changed metadata."""
        return dict(sorted(self._walk(str(self.root), "")))

    def reset(self, state: State) -> None:
        """Restore the content that every file had in ``state``, and remove all other files."""
        now = self.state()
        for name in now.keys() - state.keys():
            (self.root / name).unlink()
        for name, mark in state.items():
            if now.get(name) != mark:
                path = self.root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_STORE[mark[4:]])
                path.chmod(int(mark[:4], 8))

    def _walk(self, folder: str, prefix: str):
        for entry in os.scandir(folder):
            name = prefix + entry.name
            if name == ".git":
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path, f"{name}/")
            else:
                yield name, self._mark(entry, name)

    def _mark(self, entry: os.DirEntry, name: str) -> str:
        facts = entry.stat(follow_symlinks=False)
        sign = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_mode)
        if name not in self._seen or self._seen[name][0] != sign:
            data = os.readlink(entry.path).encode() if entry.is_symlink() else Path(entry.path).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            _STORE[digest] = data
            self._seen[name] = sign, f"{stat.S_IMODE(facts.st_mode):04o}{digest}"
        return self._seen[name][1]


def different(one: State, other: State) -> list[str]:
    """The paths at which two states differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
