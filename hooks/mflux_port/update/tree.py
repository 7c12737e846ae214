"""The checkout's git tree during an update: whether it is clean, which update runs, and what a rollback needs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mflux_port.checkout.git import ask_git, git, git_commit
from mflux_port.checkout.lock import process_start, under_way, update_note
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.port.answers import ANSWERS

COMMITTED = "Update the port of {model} to template {to}"
KEPT = "refs/mflux-port/kept"
POINTED = "Point the port of {model} to another template"
WAY_BACK = "mflux-port update --restore"
# Files in git's folder that mark an unfinished operation.
_STOPPED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def changed_files(root: Path, commit: str = "HEAD") -> list[str]:
    """Every file below ``root`` that differs from ``commit``, new ones too, relative to ``root``."""
    return sorted({*tracked_changes(root, commit), *untracked_files(root)})


def verify_path(folder: Path) -> None:
    """Raise PortError for a path that neither Copier nor git's list of alternate object folders can store."""
    path = str(folder.absolute())
    if "\n" in path or os.fsencode(path) != path.encode(errors="replace"):
        raise PortError(
            f"{path!r} has a line break, or bytes that are not UTF-8, in its path; rename that folder first"
        )


def verify_git(root: Path) -> None:
    """Raise PortError unless the checkout is a git tree with a commit, at a path that an update can use."""
    verify_path(root)
    try:
        git(root, "rev-parse", "--verify", "HEAD")
    except PortError as error:
        raise PortError(f"{error}; an update needs a git checkout with a commit") from None


def verify_clean(root: Path) -> None:
    """Raise PortError when the checkout is not a git tree, has a half-finished update, or has changes of any kind."""
    verify_git(root)
    dirty = _names(git(root, "status", "--porcelain", "--untracked-files=all", "--no-renames", "-z", "--", "."))
    if not dirty:
        _verify_not_stopped(root)
        return
    begun = under_way(root)
    if begun and begun_here(root, begun):
        raise PortError(f"an update of {begun['model']} was interrupted in {root}; `{WAY_BACK}` restores the tree")
    unmerged = unmerged_files(root)
    if unmerged:
        raise PortError(f"{root} has conflicts left ({unmerged[0]}); resolve them, commit, and run this again")
    raise PortError(
        f"{root} has {len(dirty)} uncommitted change{'s' if len(dirty) > 1 else ''} ({dirty[0][3:]}); "
        'commit first: `git add --all && git commit -m "Before the update"`'
    )


def unmerged_files(root: Path) -> list[str]:
    """The files that git lists as conflicts, relative to ``root``; none without git."""
    shown = ask_git(root, "diff", "--name-only", "--diff-filter=U", "--relative", "-z") or b""
    return _names(shown.decode("utf-8", "surrogateescape"))


def tracked_changes(root: Path, commit: str) -> set[str]:
    """The files that differ from ``commit`` in the work tree or only in the index, relative to ``root``."""
    options = ("--name-only", "--no-renames", "--relative", "-z", commit)
    return {name for kind in ((), ("--cached",)) for name in _names(git(root, "diff", *kind, *options))}


def untracked_files(root: Path) -> set[str]:
    """The files that git neither tracks nor ignores, even if its configuration hides them."""
    return set(_names(git(root, "ls-files", "--others", "--exclude-standard", "-z")))


def git_path(root: Path, name: str) -> Path:
    """The path of git's file ``name`` for this work tree."""
    return root / git(root, "rev-parse", "--git-path", name).removesuffix("\n")


def begin(root: Path, model: str, pid: int) -> None:
    """Record which update begins here, at which commit and in which process, so that it can be rolled back."""
    here = _here(root)
    note = {"model": model, "head": here["at"], "pid": pid, "started": process_start(pid), "moves": [], "writes": []}
    answers = root / ANSWERS.format(model=model)
    note["crlf"] = answers.is_file() and b"\r\n" in answers.read_bytes()
    note["sparse"] = ask_git(root, "config", "--type=bool", "core.sparseCheckout") == b"true\n"
    write_whole(update_note(root), json.dumps(note | here))


def go_on(root: Path) -> None:
    """Record that the update has made a commit and continues from it."""
    amend(root, **_here(root))


def begun_by(root: Path, pid: int) -> bool:
    """Whether the update of that process has begun."""
    begun = under_way(root)
    return bool(begun) and begun["pid"] == pid and begun["started"] == process_start(pid)


def begun_here(root: Path, begun: dict) -> bool:
    """Whether nothing but the update has committed, reset, stashed or switched since it began."""
    return all(begun.get(name) == value for name, value in _here(root).items())


def amend(root: Path, **facts: object) -> None:
    """Add to the running update's note: ``moves`` (from, to), ``writes`` (the porter's files that it makes)."""
    write_whole(update_note(root), json.dumps((under_way(root) or {}) | facts))


def end(root: Path) -> None:
    """Record that the update is over, whether it succeeded or not."""
    begun = under_way(root)
    Path(update_note(root)).unlink(missing_ok=True)
    if begun and begun.get("sparse"):
        ask_git(root, "sparse-checkout", "reapply")  # Copier also writes the files that a sparse checkout leaves out


def commit_own(root: Path, message: str, *options: str) -> None:
    """Commit what the update has changed so far, only below ``root``."""
    git(root, "add", "--all", "--", ".")
    git_commit(root, *options, "--message", message, "--", ".")


def _names(text: str) -> list[str]:
    return [name for name in text.split("\0") if name]


def _verify_not_stopped(root: Path) -> None:
    home = Path(git(root, "rev-parse", "--absolute-git-dir").removesuffix("\n"))
    stopped = next((what for name, what in _STOPPED.items() if (home / name).exists() or _is_ref(root, name)), None)
    if stopped:
        raise PortError(
            f"a {stopped} is in progress in {root}; finish it first: `git {stopped} --continue` or `git {stopped} --abort`"
        )


def _is_ref(root: Path, name: str) -> bool:
    # Not every repository keeps its refs as files.
    return name.endswith("_HEAD") and ask_git(root, "rev-parse", "--verify", "--quiet", name) is not None


def _here(root: Path) -> dict[str, object]:
    # Each of those actions adds an entry to HEAD's log, if there is one.
    entries = (ask_git(root, "rev-list", "--walk-reflogs", "--count", "HEAD") or b"").decode().strip()
    return {"at": git(root, "rev-parse", "HEAD").strip(), "log": entries}
