"""A folder with a checkpoint and a checkout that has a wired port: damaged by a test, then restored."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from mflux_port.checkout import releases
from mflux_port.cli import main

MODEL = "nova"
ANSWERS = "porting/nova/answers.yml"
# git's own bookkeeping, and the lock that every run opens there.
_UNWATCHED = (".git/index", ".git/objects", ".git/logs", ".git/mflux-port", ".git/COMMIT_EDITMSG")


class World:
    """``root`` is the checkout, ``checkpoint`` a folder in diffusers layout, ``home`` has both and a test's files."""

    def __init__(self, home: Path):
        self.home, self.root, self.checkpoint = home, home / "mflux", home / "checkpoint"
        self._kept = home.with_name(f"{home.name}-kept")
        if not self._kept.exists():
            shutil.copytree(home, self._kept, symlinks=True)
        self._whole = _state(home)
        self._now: dict[str, tuple] | None = None

    def path(self, name: str) -> Path:
        """A file of the checkout."""
        return self.root / name

    def write(self, name: str, data: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def answer(self, **changed: object) -> None:
        """Edit answers.yml by hand; ``...`` removes an answer."""
        path = self.root / ANSWERS
        answers = {**yaml.safe_load(path.read_text()), **changed}
        text = yaml.safe_dump({name: value for name, value in answers.items() if value is not ...}, sort_keys=False)
        path.write_text(text, encoding="utf-8")

    def commit(self) -> None:
        releases.commit(self.root, "Edited by hand")

    def written(self) -> dict[str, tuple]:
        """What a refused command must not change: every file, folder and link, with mode and time of change."""
        return _watched(_state(self.home))

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Inside this context, nothing may be written."""
        before = self.written()
        yield
        self._now = _state(self.home)
        found = changes(before, _watched(self._now))
        assert found == [], found

    def restore(self) -> None:
        """Restore everything."""
        now, self._now = self._now or _state(self.home), None
        for name in sorted(now.keys() | self._whole.keys(), reverse=True):
            if now.get(name) != self._whole.get(name) and name in now and name not in self._whole:
                remove(self.home / name)
        lost = [name for name in sorted(self._whole) if now.get(name) != self._whole[name]]
        for name in lost:
            self._bring_back(name)
        self._whole |= {name: _facts(self.home / name) for name in lost}

    def _bring_back(self, name: str) -> None:
        here, kept = self.home / name, self._kept / name
        if name.endswith("/.git/objects"):  # not compared: git only adds to it
            shutil.copytree(kept, here, dirs_exist_ok=True)
            return
        if kept.is_dir() and not kept.is_symlink():
            if here.is_symlink() or not here.is_dir():
                remove(here)
                here.mkdir()
            shutil.copystat(kept, here)
            return
        remove(here)
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kept, here, follow_symlinks=False)


def refused(world: World, capsys, arguments: list, words: tuple[str, ...], out: str = "") -> None:
    """Run a command that must end in one line with every one of ``words``, exit code 2, and nothing written.

    ``out`` is the text that it may print on stdout first.
    """
    with world.unchanged():
        complains(capsys, arguments, words, out)


def complains(capsys, arguments: list, words: tuple[str, ...], out: str = "") -> None:
    """Run the command in the same way without checking the files."""
    capsys.readouterr()
    code = main([str(word) for word in arguments])
    said = capsys.readouterr()
    assert (code, said.out) == (2, out), (code, said.out, said.err)
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mflux-port: "), said.err
    assert len(lines[0]) < 600 and lines[0].isprintable(), lines[0]
    for word in words:
        assert word in lines[0], (word, lines[0])


def changes(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """The names of the files that differ."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _state(home: Path) -> dict[str, tuple]:
    found: dict[str, tuple] = {}

    def walk(folder: str) -> None:
        for entry in os.scandir(folder):
            name = entry.path[len(str(home)) + 1 :]
            found[name] = _facts(entry.path)
            if entry.is_dir(follow_symlinks=False) and name != "mflux/.git/objects":
                walk(entry.path)

    walk(str(home))
    return found


def _facts(path: Path | str) -> tuple:
    status = os.lstat(path)
    # A folder's time changes when something is added and removed again.
    facts = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return (status.st_mode, *facts, os.readlink(path) if stat.S_ISLNK(status.st_mode) else "")


def _watched(state: dict[str, tuple]) -> dict[str, tuple]:
    return {name: facts for name, facts in state.items() if not _is_unwatched(name)}


def _is_unwatched(name: str) -> bool:
    inside = name.partition("/")[2]
    return inside.startswith(_UNWATCHED) and name.startswith("mflux/")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
