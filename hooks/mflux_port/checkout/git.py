"""All calls of git: its output, or one line with the reason why it failed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mflux_port.errors import PortError

# For commits that mflux-port makes itself.
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "mflux-port"), ("EMAIL", "mflux-port@localhost"))
}


def git(root: Path, *arguments: str, data: bytes | None = None, **variables: str) -> str:
    """Run git in ``root``, with ``data`` on stdin, and return its output. Raises PortError with git's reason."""
    done = _run(root, arguments, data, variables)
    if done.returncode:
        raise PortError(f"git {arguments[0]} failed in {root} ({reason(done.stderr)})")
    return done.stdout.decode("utf-8", "surrogateescape")


def ask_git(root: Path, *arguments: str) -> bytes | None:
    """The bytes that git prints, or None when it exits with an error: for questions whose answer may be no."""
    done = _run(root, arguments, None, {})
    return None if done.returncode else done.stdout


@dataclass(frozen=True)
class IgnoreRule:
    """A pattern of an ignore file. ``line`` counts from 1; ``file`` is relative to the checkout."""

    file: str
    line: int
    pattern: str

    @property
    def hides(self) -> bool:
        return not self.pattern.startswith("!")


def ignore_rules(root: Path, *names: str) -> list[IgnoreRule | None]:
    """For each path the rule that decides whether git ignores it; None where there is none, and without a ``.git``.

    A rule that hides a folder decides about everything in it. A person's own ``core.excludesFile`` does not count.
    """
    if not (root / ".git").exists():
        return [None] * len(names)
    command = ("-c", "core.excludesFile=", "check-ignore", "--verbose", "--non-matching", "--no-index", "-z", "--stdin")
    done = _run(root, command, "\0".join(names).encode(), {})
    if done.returncode > 1:  # 1: no path has a rule
        raise PortError(f"git check-ignore failed in {root} ({reason(done.stderr)})")
    fields = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    answers = [fields[place : place + 3] for place in range(0, 4 * len(names), 4)]  # file, line, pattern; the path
    return [IgnoreRule(file, int(line), pattern) if file else None for file, line, pattern in answers]


def reason(output: bytes | str | None) -> str:
    """Why git failed: its ``fatal:`` line if there is one, since the lines after it are advice; else its last line."""
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("fatal:")]
    return (fatal or lines or ["no output"])[-1]


def merge_texts(mine: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Merge three texts as Copier does; whether that left no conflict. Raises PortError when one of them is not text."""
    import tempfile

    labels = [word for name in ("before updating", "last update", "after updating") for word in ("-L", name)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in (("mine", mine), ("base", base), ("theirs", theirs)):
            Path(scratch, name).write_bytes(data)
        done = _run(Path(scratch), ("merge-file", "--stdout", *labels, "mine", "base", "theirs"), None, {})
    if done.returncode < 0 or done.returncode > 127:
        raise PortError(f"git merge-file failed ({reason(done.stderr)})")
    return done.stdout, done.returncode == 0


def _run(
    root: Path, arguments: tuple[str, ...], data: bytes | None, variables: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    # Without optional locks, a killed run that only read leaves no lock of git's. In English, because messages are parsed.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LANGUAGE": "en", **variables}
    command = ["git", "-C", str(root), *arguments]
    stdin = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        return subprocess.run(command, capture_output=True, env=environment, **stdin)
    except FileNotFoundError:
        raise PortError("git is not installed; install it and run this again") from None
