"""Write an update's merge into the checkout: all files or none, with conflicts recorded in git's index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout.git import git
from mflux_port.checkout.lock import under_way
from mflux_port.checkout.transaction import commit, locked
from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS
from mflux_port.template.project import is_owned, owned_paths
from mflux_port.update.merge import merge_files
from mflux_port.update.renderings import Renderings, render_both
from mflux_port.update.tree import amend


class Completed(NamedTuple):
    """``kept``: the porter's files that could not be merged, each with the reason, left as conflicts.

    ``added``: files for the porter that the answers or the template require since this update. ``yours``: such files
    that existed and would be rendered differently from the current answers, each with git's names of both texts.
    ``handed_over``: the porter's files that this update merged for the last time.
    """

    kept: dict[str, str]
    added: list[str]
    yours: dict[str, tuple[str, str]]
    handed_over: list[str]


def complete(root: Path, model: str, template: Path, version: str) -> Completed:
    """Merge what the template renders now into the port's files. ``template`` is Copier's clone, checked out.

    ``version`` is the one that the port was last rendered from. Raises PortError with no file changed.
    """
    _restore_line_endings(root, ANSWERS.format(model=model))
    renderings = render_both(root, model, template, version)
    handed_over = under_way(root).get("handed_over", [])
    owned = [path for path in owned_paths(model) if path not in handed_over]
    noted = {origin: place for origin, place in under_way(root)["moves"]}
    there = _texts(root, {*renderings.old, *renderings.new, *noted, *noted.values()})
    moves = {origin: place for origin, place in noted.items() if _moves(origin, place, there, renderings, owned)}
    mine, old = _moved(there, moves), _moved(renderings.old, moves)
    merged = [name for name in sorted({*old, *renderings.new}) if not is_owned(name, owned)]
    outcomes = merge_files(mine, old, renderings.new, merged)
    added = [name for name in sorted(renderings.new) if is_owned(name, owned) and name not in {**old, **mine}]
    files = {name: outcome.text for name, outcome in outcomes.items()}
    files |= {name: renderings.new[name] for name in added}
    _write(root, there, {**{place: mine.get(place) for place in moves.values()}, **files, **dict.fromkeys(moves)})
    for origin, place in moves.items():
        if origin in there:
            git(root, "add", "--all", "--force", "--", origin, place)  # so that git shows a rename
    conflicts = {name: outcome for name, outcome in outcomes.items() if outcome.conflict}
    for name in conflicts:
        _mark_conflict(root, name, old.get(name), mine[name], renderings.new.get(name))
    behind = _left_behind(root, mine, old, renderings.new, owned) if renderings.answers_changed else {}
    kept = {name: outcome.why for name, outcome in conflicts.items() if outcome.why}
    return Completed(kept, added, behind, [name for name in handed_over if name in mine])


def _moves(origin: str, place: str, there: dict[str, bytes], renderings: Renderings, owned: list[str]) -> bool:
    # Nothing is moved when the porter has a file of that name (then edits at the old path are a conflict there), or
    # when neither name is still rendered.
    return place not in there and (place in renderings.new or (is_owned(origin, owned) and origin in there))


def _moved(texts: dict[str, bytes], moves: dict[str, str]) -> dict[str, bytes]:
    return {moves.get(name, name): text for name, text in texts.items()}


def _texts(root: Path, names: set[str]) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in names if (root / name).is_file()}


def _write(root: Path, there: dict[str, bytes], files: dict[str, bytes | None]) -> None:
    files = {name: text for name, text in files.items() if text != there.get(name)}
    amend(root, writes=sorted({*under_way(root)["writes"], *files}))
    with locked(root):
        commit(root, files, {name: there.get(name) for name in files})
    wrong = next((name for name, text in files.items() if _texts(root, {name}).get(name) != text), None)
    if wrong:
        raise PortError(f"{wrong} is not what was written; another program changes the port's files: stop it first")
    for name in [name for name, text in files.items() if text is None]:
        _remove_empty(root, (root / name).parent)


def _remove_empty(root: Path, folder: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _restore_line_endings(root: Path, name: str) -> None:
    # Copier always writes the answers with LF.
    text = (root / name).read_bytes()
    if under_way(root).get("crlf") and b"\r\n" not in text:
        (root / name).write_bytes(text.replace(b"\n", b"\r\n"))


def _left_behind(
    root: Path, mine: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes], owned: list[str]
) -> dict[str, tuple[str, str]]:
    names = [name for name in sorted(old) if is_owned(name, owned) and name in mine]
    texts = {name: (old[name], new.get(name, b"")) for name in names}
    return {
        name: (_stored(root, name, before)[:12], _stored(root, name, after)[:12])
        for name, (before, after) in texts.items()
        if before != after
    }


def _mark_conflict(root: Path, name: str, base: bytes | None, mine: bytes, theirs: bytes | None) -> None:
    # Like git's merge: the index holds the three texts, so that nobody commits the conflict by mistake.
    path = git(root, "rev-parse", "--show-prefix").removesuffix("\n") + name
    mode = "100755" if os.access(root / name, os.X_OK) else "100644"
    stages = enumerate((base, mine, theirs), 1)
    lines = [f"0 {'0' * 40}\t{path}"]
    lines += [f"{mode} {_stored(root, name, text)} {stage}\t{path}" for stage, text in stages if text is not None]
    data = "\0".join([*lines, ""]).encode("utf-8", "surrogateescape")
    git(root, "update-index", "-z", "--index-info", data=data)


def _stored(root: Path, name: str, text: bytes) -> str:
    return git(root, "hash-object", "-w", "--stdin", "--path", name, data=text).strip()
