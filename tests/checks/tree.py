"""A checkout in which a test changes something and then restores it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.checks.complete_port import git


class Tree:
    """A checkout that records what a test changes; ``restore`` undoes all changes."""

    def __init__(self, root: Path):
        self.root = root
        self._before: dict[Path, bytes | None] = {}
        self._index_changed = False

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace every ``old``; if there is none, the test itself is wrong."""
        text = (self.root / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        self.write(name, text.replace(old, new))

    def write(self, name: str, text: str) -> None:
        self._remember(name)
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.root / name).read_text() + text)

    def remove(self, name: str) -> None:
        self._remember(name)
        (self.root / name).unlink()

    def remove_folder(self, name: str) -> None:
        for path in sorted((self.root / name).rglob("*")):
            if path.is_file():
                self.remove(path.relative_to(self.root).as_posix())

    def git(self, *arguments: str) -> str:
        self._index_changed = True
        return git(self.root, *arguments)

    def restore(self) -> None:
        if self._index_changed:
            git(self.root, "symbolic-ref", "HEAD", "refs/heads/port")
            git(self.root, "read-tree", "HEAD")
        for path, data in self._before.items():
            if data is None:
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        self._before.clear()
        self._index_changed = False

    def _remember(self, name: str) -> None:
        path = self.root / name
        if path not in self._before:
            self._before[path] = path.read_bytes() if path.is_file() else None

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.root and folder.is_dir() and not any(folder.iterdir()):
            shutil.rmtree(folder)
            folder = folder.parent
