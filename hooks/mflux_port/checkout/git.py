"""All calls of git: each returns git's output, or raises an error with one line that says why git failed.

Every call uses the settings of NEUTRAL and removes the variables that point git at another repository, so that the
answer does not depend on the user's configuration. Settings for reading the work tree (line endings, attributes,
filters) are kept: without them, a clean tree would look changed. Texts from a template are also read with PLAIN, which
turns those off too.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mflux_port.errors import PortError

# The identity for commits that mflux-port makes on its own.
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "mflux-port"), ("EMAIL", "mflux-port@localhost"))
}
NEUTRAL = {
    "advice.detachedHead": "false",
    "apply.ignoreWhitespace": "no",
    "apply.whitespace": "nowarn",
    "clone.defaultRemoteName": "origin",
    "color.branch": "false",
    "color.diff": "false",
    "color.status": "false",
    "color.ui": "false",
    "column.ui": "never",
    "commit.gpgSign": "false",
    "core.abbrev": "auto",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.ignoreStat": "false",
    "core.quotePath": "true",
    "core.safecrlf": "false",
    "diff.autoRefreshIndex": "true",
    "diff.context": "3",
    "diff.interHunkContext": "0",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "diff.relative": "false",
    "diff.renames": "false",
    "gc.auto": "0",
    "i18n.logOutputEncoding": "UTF-8",
    "init.templateDir": "",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "merge.conflictStyle": "merge",
    "status.branch": "false",
    "status.relativePaths": "true",
    "status.short": "false",
    "status.showStash": "false",
    "submodule.recurse": "false",
    "tag.gpgSign": "false",
}
PLAIN = {
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.bigFileThreshold": "512m",
    "core.eol": "lf",
    "core.sparseCheckout": "false",
    "protocol.file.allow": "always",  # the user's own clone on this machine
}
# A commit that the user wants is made with the user's own hooks and signature.
_OF_A_COMMIT = ("commit.gpgSign", "core.hooksPath")
# They point git at another repository, or change how it reads its arguments and what it prints.
_REMOVED = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DEFAULT_HASH",
    "GIT_DIFF_OPTS",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INDEX_VERSION",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TEMPLATE_DIR",
    "GIT_WORK_TREE",
)
_NO_TRACE = dict.fromkeys(("GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF"), "0")


def git(root: Path, *arguments: str, data: bytes | None = None, **variables: str) -> str:
    """Run git in ``root``, with ``data`` on stdin, and return its output. Raises PortError with git's reason."""
    done = _run(root, arguments, data, git_environment() | variables)
    if done.returncode:
        raise PortError(f"git {arguments[0]} failed in {root} ({reason(done.stderr)})")
    return done.stdout.decode("utf-8", "surrogateescape")


def ask_git(root: Path, *arguments: str) -> bytes | None:
    """Return git's output, or None when git exits with an error. For calls where an error is a valid answer."""
    done = _run(root, arguments, None, git_environment())
    return None if done.returncode else done.stdout


def git_commit(root: Path, *arguments: str) -> None:
    """``git commit`` with the user's own hooks and signature. Raises PortError naming the hook that refused."""
    settings = {name: value for name, value in NEUTRAL.items() if name not in _OF_A_COMMIT}
    done = _run(root, ("commit", "--quiet", *arguments), None, git_environment(settings))
    if done.returncode:
        hooks = [] if "--no-verify" in arguments or b"fatal:" in done.stderr else _hooks(root)
        said = f"{' or '.join(hooks)} hook: {reason(done.stderr)}" if hooks else reason(done.stderr)
        raise PortError(f"git commit failed in {root} ({said})")


def git_environment(settings: dict[str, str] = NEUTRAL) -> dict[str, str]:
    """This process's environment, changed so that git uses ``settings`` in place of the user's own."""
    environment = {name: value for name, value in os.environ.items() if name not in _REMOVED}
    # Turn off trace2 too: git does not accept trace2.* settings on the command line.
    environment = {name: value for name, value in environment.items() if not name.startswith("GIT_TRACE")} | _NO_TRACE
    # Commands that only read take no lock, so that a killed run leaves none behind. Messages are in English, so that
    # they can be parsed.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LANGUAGE": "en"}
    count = environment.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0
    for number, (name, value) in enumerate(settings.items(), first):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment | {"GIT_CONFIG_COUNT": str(first + len(settings))}


def reason(said: bytes | str | None) -> str:
    """The reason why git failed: its ``fatal:`` line, because only advice follows it; else its last line."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("fatal:")]
    errors = [line for line in lines if line.startswith("error:")]
    # `fatal: failed to write commit object` and similar lines only say that the error above ended it.
    if fatal and errors and fatal[-1].startswith(("fatal: failed to", "fatal: could not", "fatal: unable to")):
        return f"{errors[0]}; {fatal[-1]}"
    return (fatal or lines or ["no output"])[-1]


def merge_texts(mine: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Merge three texts line by line; the flag is true if there was no conflict.

    Raises PortError for binary content.
    """
    import tempfile  # only an update needs it

    labels = [word for name in ("before updating", "last update", "after updating") for word in ("-L", name)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in (("mine", mine), ("base", base), ("theirs", theirs)):
            Path(scratch, name).write_bytes(data)
        command = ("merge-file", "--stdout", *labels, "mine", "base", "theirs")
        done = _run(Path(scratch), command, None, git_environment(NEUTRAL | PLAIN))
    if done.returncode < 0 or done.returncode > 127:
        raise PortError(f"git merge-file failed ({reason(done.stderr)})")
    return done.stdout, done.returncode == 0


def _run(root: Path, arguments: tuple[str, ...], data: bytes | None, environment: dict[str, str]):
    command = ["git", "-C", str(root), *arguments]
    stdin = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        return subprocess.run(command, capture_output=True, env=environment, **stdin)
    except FileNotFoundError:
        raise PortError("git is not installed; install it and run this again") from None


def _hooks(root: Path) -> list[str]:
    # The user's hooks that can refuse a commit.
    shown = _run(root, ("rev-parse", "--git-path", "hooks"), None, git_environment({})).stdout
    folder = root / shown.decode("utf-8", "surrogateescape").strip()
    names = ("pre-commit", "prepare-commit-msg", "commit-msg")
    return [name for name in names if os.access(folder / name, os.X_OK)]
