"""The checkout's git tree around an update: is it clean, which update is under way, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.lock import UNDER_WAY, alone, born, under_way
from mflux_port.wiring.transaction import locked, state_dir
from mflux_port.writing import write_whole

KEPT = "refs/mflux-port/kept"
COMMITTED = "Update the port of {model} to template {to}"
WAY_BACK = "mflux-port update --restore"
POINTED = "Point the port of {model} to another template"
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "mflux-port"), ("EMAIL", "mflux-port@localhost"))
}


def git(root: Path, *arguments: str, **variables: str) -> str:
    """Run git in ``root`` and give its output. Raises PortError with git's last line when it fails.

    Looking takes no lock of git's, so that a killed run leaves none behind where it only looked.
    """
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **variables}
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PortError(f"git {arguments[0]} failed in {root} ({said[-1] if said else 'no output'})")
    return done.stdout


def changed_files(root: Path) -> list[str]:
    """Every file below ``root`` that differs from the last commit, new ones too, relative to ``root``."""
    names = git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD")
    names += git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return sorted({name for name in names.split("\0") if name})


def verify_clean(root: Path) -> None:
    """Raise PortError when the tree is no git tree, holds half an update, or has changes of any kind."""
    try:
        dirty = git(root, "status", "--porcelain")
        git(root, "rev-parse", "--verify", "HEAD")
    except PortError as error:
        raise PortError(f"{error}; an update needs a git checkout with a commit") from None
    if not dirty:
        return
    begun = under_way(root)
    if begun and _begun_here(root, begun):
        model = begun["model"]
        raise PortError(
            f"an update of {model} stopped half-way in {root}; `{WAY_BACK}` gives back the tree as it was before"
        )
    unmerged = git(root, "diff", "--name-only", "--diff-filter=U").splitlines()
    if unmerged:
        raise PortError(f"{root} has conflicts left ({unmerged[0]}); resolve them, commit, and run this again")
    count = len(dirty.splitlines())
    first = dirty.splitlines()[0][3:]
    raise PortError(
        f"{root} has {count} uncommitted change{'s' if count > 1 else ''} ({first}); "
        'commit first: `git add --all && git commit -m "Before the update"`'
    )


def begin(root: Path, model: str, pid: int) -> None:
    """Note which update begins here, at which commit and by which process, so that the way back is known."""
    note = {"model": model, "head": git(root, "rev-parse", "HEAD").strip(), "pid": pid, "born": born(pid)}
    write_whole(state_dir(root) / UNDER_WAY, json.dumps(note))


def end(root: Path) -> None:
    """The update is over, well or not."""
    (state_dir(root) / UNDER_WAY).unlink(missing_ok=True)


def restore(root: Path) -> str:
    """Give back the tree as it was before the update that stopped half-way; returns what was done.

    The tree was clean when that update began, so every change since then is the update's; what lay there is kept in
    KEPT all the same. Raises PortError when no update stopped here, when one runs, or when somebody committed since.
    """
    with alone(root):
        begun = under_way(root)
        if begun is None:
            raise PortError(f"no update stopped half-way in {root}; there is nothing to restore")
        _free_git(root)
        since = _since(root, begun)
        if since and since[0].startswith(COMMITTED.format(model=begun["model"], to="")):
            end(root)
            return f"the update of {begun['model']} was complete and is committed"
        if not _begun_here(root, begun):
            raise PortError(f"{root} has new commits since the update began; see `git log` and restore by hand")
        kept = _back_to(root, begun["head"])
    said = f"the tree is as it was before the update of {begun['model']}"
    return f"{said}; what lay there since: git show {KEPT}" if kept else said


def take_back(root: Path) -> None:
    """The same within the run that began the update."""
    begun = under_way(root)
    if begun:
        try:
            _back_to(root, begun["head"])
        except (PortError, OSError) as error:
            raise PortError(f"{error}; the tree is half-way: `{WAY_BACK}` gives it back") from None


def _begun_here(root: Path, begun: dict) -> bool:
    # Pointing to another template is a commit of the update's own.
    head = git(root, "rev-parse", "HEAD").strip()
    return head == begun["head"] or _since(root, begun) == [POINTED.format(model=begun["model"])]


def _since(root: Path, begun: dict) -> list[str]:
    return git(root, "log", "--format=%s", f"{begun['head']}..HEAD").splitlines()


def _free_git(root: Path) -> None:
    # A killed git leaves its locks behind; while we are alone here, they are nobody's.
    branch = git(root, "rev-parse", "--symbolic-full-name", "HEAD").strip()
    for name in ("index.lock", "HEAD.lock", f"{branch}.lock"):
        _git_path(root, name).unlink(missing_ok=True)


def _git_path(root: Path, name: str) -> Path:
    return root / git(root, "rev-parse", "--git-path", name).strip()


def _back_to(root: Path, head: str) -> bool:
    with locked(root):  # finishes a wiring run that was killed, whose temporary files would go now
        top = Path(git(root, "rev-parse", "--show-toplevel").strip())
        kept = _keep(root, top)
        git(root, "reset", "--hard", "--quiet", head)
        git(top, "clean", "-d", "--force", "--quiet")
    end(root)
    return kept


def _keep(root: Path, top: Path) -> bool:
    # Somebody may have gone on from the half-way tree. Git keeps it, through an index of our own.
    index = state_dir(root) / "kept.index"
    shutil.copyfile(_git_path(root, "index"), index)
    try:
        git(top, "add", "--all", GIT_INDEX_FILE=str(index))
        tree = git(top, "write-tree", GIT_INDEX_FILE=str(index)).strip()
    finally:
        index.unlink(missing_ok=True)
    if tree == git(top, "rev-parse", "HEAD^{tree}").strip():
        return False
    made = git(top, "commit-tree", "-p", "HEAD", "-m", "What an update left half-way", tree, **_IDENTITY)
    git(top, "update-ref", KEPT, made.strip())
    return True
