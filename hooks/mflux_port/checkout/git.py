"""The one way to git: what it prints, or one line that says why it would not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from mflux_port.errors import PortError

# For commits that nobody typed.
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "mflux-port"), ("EMAIL", "mflux-port@localhost"))
}


def git(root: Path, *arguments: str, data: bytes | None = None, **variables: str) -> str:
    """Run git in ``root``, with ``data`` on stdin, and give its output. Raises PortError with git's reason."""
    done = _run(root, arguments, data, variables)
    if done.returncode:
        raise PortError(f"git {arguments[0]} failed in {root} ({reason(done.stderr)})")
    return done.stdout.decode("utf-8", "surrogateescape")


def ask_git(root: Path, *arguments: str) -> bytes | None:
    """The bytes that git prints, or None when it says no: where that is an answer and no failure."""
    done = _run(root, arguments, None, {})
    return None if done.returncode else done.stdout


def reason(said: bytes | str | None) -> str:
    """What a failing git means: its ``fatal:`` line, for what follows is advice; else its last line."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("fatal:")]
    return (fatal or lines or ["no output"])[-1]


def _run(root: Path, arguments: tuple[str, ...], data: bytes | None, variables: dict[str, str]):
    # Looking takes no lock of git's, so that a killed run leaves none behind where it only looked. English, to be read.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LANGUAGE": "en", **variables}
    command = ["git", "-C", str(root), *arguments]
    stdin = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        return subprocess.run(command, capture_output=True, env=environment, **stdin)
    except FileNotFoundError:
        raise PortError("git is not installed; install it and run this again") from None


def merge_texts(mine: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Three texts made one, as Copier merges them; whether no conflict is left in it. Raises PortError for no texts."""
    labels = [word for name in ("before updating", "last update", "after updating") for word in ("-L", name)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in (("mine", mine), ("base", base), ("theirs", theirs)):
            Path(scratch, name).write_bytes(data)
        done = _run(Path(scratch), ("merge-file", "--stdout", *labels, "mine", "base", "theirs"), None, {})
    if done.returncode < 0 or done.returncode > 127:
        raise PortError(f"git merge-file failed ({reason(done.stderr)})")
    return done.stdout, done.returncode == 0
