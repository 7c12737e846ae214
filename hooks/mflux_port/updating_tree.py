"""The checkout's git tree around an update: is it clean, which update is under way, and the way back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.wiring.transaction import locked

_UNDER_WAY = "update.json"
WAY_BACK = "mflux-port update --restore"
POINTED = "Point the port of {model} to another template"


def git(root: Path, *arguments: str) -> str:
    """Run git in ``root`` and give its output. Raises PortError with git's last line when it fails."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
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


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the checkout against a second update; the kernel drops the lock with the process."""
    with open(_home(root) / "update.lock", "a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PortError(f"another update is at work in {root}; wait for it and run this again") from None
        yield


def begin(root: Path, model: str) -> None:
    """Note which update begins here and at which commit, so that the way back is known."""
    note = {"model": model, "head": git(root, "rev-parse", "HEAD").strip()}
    (_home(root) / _UNDER_WAY).write_text(json.dumps(note), encoding="utf-8")


def end(root: Path) -> None:
    """The update is over, well or not."""
    (_home(root) / _UNDER_WAY).unlink(missing_ok=True)


def under_way(root: Path) -> dict | None:
    """The update that began and did not end: its model and the commit it began at."""
    try:
        note = json.loads((_home(root) / _UNDER_WAY).read_bytes())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and {"model", "head"} <= note.keys() else None


def restore(root: Path) -> str:
    """Give back the tree as it was before the update that stopped half-way; returns its model.

    The tree was clean when that update began, so every change since then is the update's. Raises PortError when no
    update stopped here, when one runs, or when somebody committed since.
    """
    begun = under_way(root)
    if begun is None:
        raise PortError(f"no update stopped half-way in {root}; there is nothing to restore")
    with alone(root):
        # A killed git leaves its lock behind; while we are alone here, it is nobody's.
        (_home(root).parent / "index.lock").unlink(missing_ok=True)
        if not _begun_here(root, begun):
            raise PortError(f"{root} has new commits since the update began; see `git log` and restore by hand")
        _back_to(root, begun["head"])
    return begun["model"]


def take_back(root: Path) -> None:
    """The same within the run that began the update."""
    begun = under_way(root)
    if begun:
        _back_to(root, begun["head"])


def _begun_here(root: Path, begun: dict) -> bool:
    # Pointing to another template is a commit of the update's own.
    since = git(root, "log", "--format=%s", f"{begun['head']}..HEAD").splitlines()
    head = git(root, "rev-parse", "HEAD").strip()
    return head == begun["head"] or since == [POINTED.format(model=begun["model"])]


def _back_to(root: Path, head: str) -> None:
    with locked(root):  # finishes a wiring run that was killed, whose temporary files would go now
        git(root, "reset", "--hard", "--quiet", head)
        top = git(root, "rev-parse", "--show-toplevel").strip()
        git(Path(top), "clean", "-d", "--force", "--quiet")
    end(root)


def _home(root: Path) -> Path:
    home = Path(git(root, "rev-parse", "--absolute-git-dir").strip()) / "mflux-port"
    home.mkdir(parents=True, exist_ok=True)
    return home
