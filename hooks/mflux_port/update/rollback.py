"""Roll back an update that did not finish: restore the tree as it was, without losing any of the porter's work."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from mflux_port.checkout.git import IDENTITY, git
from mflux_port.checkout.lock import exclusive, under_way
from mflux_port.checkout.transaction import locked
from mflux_port.checkout.tree import state_dir
from mflux_port.errors import PortError
from mflux_port.template.project import owned_paths
from mflux_port.update.port_state import names_port
from mflux_port.update.tree import (
    COMMITTED,
    KEPT,
    POINTED,
    WAY_BACK,
    begun_here,
    end,
    git_path,
    tracked_changes,
    untracked_files,
)


def restore(root: Path) -> str:
    """Restore the tree as it was before the interrupted update; returns what was done.

    The tree was clean when that update began. What an update does not write is the porter's work since then and stays;
    everything that was there is also kept in KEPT. Raises PortError when no update was interrupted here, when one runs,
    or when something was committed or reset since: then the update's changes cannot be identified.
    """
    with exclusive(root):
        begun = under_way(root)
        if begun is None:
            raise PortError(f"no update was interrupted in {root}; there is nothing to restore")
        _free_git(root)
        since = git(root, "log", "--format=%s", f"{begun['head']}..HEAD").splitlines()
        if since and since[0].startswith(COMMITTED.format(model=begun["model"], to="")):
            end(root)
            return f"the update of {begun['model']} was complete and is committed"
        # The process may have been killed between the update's first commit and the note about it.
        pointed = begun.get("at") == begun["head"] and since == [POINTED.format(model=begun["model"])]
        if not pointed and not begun_here(root, begun):
            end(root)
            raise PortError(
                f"something was committed or reset in {root} since the update of {begun['model']} began; "
                "nothing was changed: see `git reflog` and `git status`"
            )
        kept, left = _back(root, begun)
    said = [f"the tree is as it was before the update of {begun['model']}"]
    said += [f"not changed, because an update does not write them: {', '.join(left)}"] if left else []
    said += [f"everything that was there: git show {KEPT}"] if kept else []
    return "; ".join(said)


def roll_back(root: Path) -> None:
    """Do the same in the run that began the update. Does nothing when that run has written nothing."""
    begun = under_way(root)
    if begun:
        try:
            _back(root, begun)
        except (PortError, OSError) as error:
            raise PortError(f"{error}; the update is unfinished: `{WAY_BACK}` restores the tree") from None


def _free_git(root: Path) -> None:
    # A killed git leaves its locks behind.
    branch = git(root, "rev-parse", "--symbolic-full-name", "HEAD").strip()
    names = ("index.lock", "HEAD.lock", f"{branch}.lock", "reftable/tables.list.lock")
    locks = [git_path(root, name) for name in names]
    locks = [lock for lock in locks if lock.exists()]
    if locks and _git_runs(Path(git(root, "rev-parse", "--show-toplevel").removesuffix("\n"))):
        raise PortError(f"another git process is running in {root} ({locks[0]}); wait for it and run this again")
    for lock in locks:
        lock.unlink()


def _git_runs(top: Path) -> bool:
    # Whether a git process is running there: then the locks may belong to it.
    proc = Path("/proc")
    if not proc.is_dir():  # macOS
        shown = subprocess.run(["lsof", "-a", "-c", "git", "-d", "cwd", "-Fn"], capture_output=True, text=True).stdout
        return any(Path(line[1:]).is_relative_to(top) for line in shown.splitlines() if line.startswith("n"))
    for process in proc.glob("[0-9]*"):
        try:
            is_git, folder = (process / "comm").read_text().strip() == "git", Path(os.readlink(process / "cwd"))
        except OSError:
            continue  # the process has ended since, or belongs to another user
        if is_git and folder.is_relative_to(top):
            return True
    return False


def _back(root: Path, begun: dict) -> tuple[bool, list[str]]:
    with locked(root):  # first finish a killed wiring run: its temporary files are removed below
        kept = _keep(root, begun)
        known, new = tracked_changes(root, begun["head"]), untracked_files(root) | set(_ignored(root, begun))
        written = _writes(begun)
        names = sorted(filter(written, known))
        if names:
            command = ["restore", "--source", begun["head"], "--staged", "--worktree", "--pathspec-from-file=-"]
            git(root, *command, "--pathspec-file-nul", data="\0".join(names).encode(), GIT_LITERAL_PATHSPECS="1")
        for name in filter(written, new - known):
            _remove(root, root / name)
        if git(root, "rev-parse", "HEAD").strip() != begun["head"]:
            git(root, "update-ref", "HEAD", begun["head"])
    end(root)
    return kept, sorted(name for name in known | new if not written(name))


def _writes(begun: dict) -> Callable[[str], bool]:
    # Whether an update of the port may have written a file: not the porter's files, except those in the note.
    from mflux_port.wiring.surfaces import SURFACES

    model = begun["model"]
    shared = {surface.FILE.format(model=model) for surface in SURFACES}
    owned = tuple(path for name in owned_paths(model) for path in (name, f"{name}/"))

    def written(name: str) -> bool:
        if name in begun.get("writes", ()):
            return True
        mine = name in owned or name.startswith(tuple(path for path in owned if path.endswith("/")))
        return not mine and (name in shared or names_port(name, model))

    return written


def _remove(root: Path, path: Path) -> None:
    path.unlink()
    for folder in path.parents:
        if folder == root or any(folder.iterdir()):
            break
        folder.rmdir()


def _ignored(root: Path, begun: dict) -> list[str]:
    # Files that the update added and that git ignores. An update does not begin while git ignores a file of the port.
    names = [f":(literal){name}" for name in begun.get("writes", ())]
    shown = git(root, "ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", *names) if names else ""
    return [name for name in shown.split("\0") if name]


def _keep(root: Path, begun: dict) -> bool:
    # Somebody may have continued from the unfinished tree, so it is committed through a separate index.
    index = state_dir(root) / "kept.index"
    shutil.copyfile(git_path(root, "index"), index)
    try:
        git(root, "add", "--all", "--", ".", GIT_INDEX_FILE=str(index))
        if ignored := _ignored(root, begun):
            git(root, "add", "--force", "--", *ignored, GIT_INDEX_FILE=str(index), GIT_LITERAL_PATHSPECS="1")
        tree = git(root, "write-tree", GIT_INDEX_FILE=str(index)).strip()
    finally:
        index.unlink(missing_ok=True)
    if tree == git(root, "rev-parse", "HEAD^{tree}").strip():
        return False
    made = git(root, "commit-tree", "-p", "HEAD", "-m", "Files of an unfinished update", tree, **IDENTITY)
    git(root, "update-ref", KEPT, made.strip())
    return True
