"""Update a port to a newer template with Copier. Every failure is one line and leaves a clean tree."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mflux_port.checkout.git import ask_git, git_environment, reason
from mflux_port.checkout.lock import exclusive
from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS, read_answers, verify_present
from mflux_port.update.rollback import roll_back
from mflux_port.update.steps import REPORT
from mflux_port.update.tree import (
    COMMITTED,
    POINTED,
    begin,
    changed_files,
    commit_own,
    end,
    go_on,
    verify_clean,
    verify_path,
)


def update_port(
    root: Path, model: str, to: str | None = None, template: str | None = None, commit: bool = False
) -> dict:
    """Update one port in the checkout ``root`` and return the report of ``steps.finish``.

    ``to`` is a version of the template (default: its newest tag), ``template`` another address of the template.
    With ``commit`` the result is committed, unless it has conflicts. Raises PortError, with the tree as it was, when
    the update is refused.
    """
    with exclusive(root):
        verify_clean(root)
        end(root)  # in a clean tree no update is unfinished
        source = _source(root, model, template)
        _verify_reachable(model, source)
        _verify_complete(root, model, source)
        try:
            if template:
                _point_to(root, model, template)
            report = _run_copier(root, model, to, source)
            report["committed"] = commit and not report["conflicts"] and _commit(root, model, report["to"])
        except BaseException:
            roll_back(root)
            raise
        end(root)
    return {"model": model, **report}


def _commit(root: Path, model: str, to: str) -> bool:
    if not changed_files(root):
        return False
    try:
        commit_own(root, COMMITTED.format(model=model, to=to))
    except PortError as error:
        raise PortError(f"{error}; without --all, `mflux-port update {model}` leaves the commit to you") from None
    return True


def _source(root: Path, model: str, template: str | None) -> str:
    answers, where = read_answers(root, model), ANSWERS.format(model=model)
    verify_present(answers, where)
    if not (template or answers.get("_src_path")):
        raise PortError(f"{where} has no `_src_path`; say where the template is with --template PATH")
    if not answers.get("_commit"):
        raise PortError(f"{where} has no `_commit`: the template was not in git; `copier recopy -a {where}` adds one")
    return template or answers["_src_path"]


def _verify_reachable(model: str, source: str) -> None:
    # URLs are left to Copier and git; a folder is checked here, to give a better message.
    if re.match(r"(gh:|gl:|git@|git://|git\+|https://git(hub|lab)[.]com/)", source) or source.endswith(".git"):
        return
    if "://" in source or re.match(r"[^/]+@[^/]+:", source):
        raise PortError(
            _unreachable(model, source, f"Copier does not recognize it as a git address; write it as git+{source}")
        )
    path = Path(os.path.expanduser(source))
    if not path.exists():
        raise PortError(_unreachable(model, source, "there is no such folder"))
    verify_path(path)
    if path.is_dir():
        top = ask_git(path, "rev-parse", "--show-toplevel")
        if top is None or ask_git(path, "rev-parse", "--verify", "HEAD") is None:
            raise PortError(_unreachable(model, source, "it is not a git repository with a commit"))
        top = os.fsdecode(top.removesuffix(b"\n"))
        if Path(top).resolve() != path.resolve():
            raise PortError(_unreachable(model, source, f"it is a folder inside {top}"))
    elif path.suffix != ".bundle":
        raise PortError(_unreachable(model, source, "it is a file"))


def _verify_complete(root: Path, model: str, source: str) -> None:
    # A shallow clone of the template may lack the version that the port was made from.
    path, version = Path(os.path.expanduser(source)), str(read_answers(root, model)["_commit"])
    if not path.is_dir() or (ask_git(path, "rev-parse", "--is-shallow-repository") or b"").strip() != b"true":
        return
    if ask_git(path, "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}") is None:
        raise PortError(
            f"the template at {source} is a shallow clone without {version}, which {model} was made from; "
            f"complete it: `git -C {source} fetch --unshallow --tags`"
        )


def _unreachable(model: str, source: str, reason: str) -> str:
    return (
        f"the template of {model} cannot be reached at {source} ({reason}); "
        f"say where it is: `mflux-port update {model} --template PATH`"
    )


def _point_to(root: Path, model: str, template: str) -> None:
    # Copier reads the template's location only from the committed answers, so this needs a separate commit.
    path = root / ANSWERS.format(model=model)
    place = os.path.expanduser(template)
    text = path.read_bytes().decode()  # with its own line endings
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    line = f"_src_path: {json.dumps(os.path.realpath(place) if os.path.exists(place) else template)}{end_of_line}"
    changed, found = re.subn(r"^_src_path:.*\n", lambda match: line, text, flags=re.MULTILINE)
    if changed != text or not found:
        begin(root, model, os.getpid())
        path.write_bytes((changed if found else line + text).encode())
        commit_own(root, POINTED.format(model=model), "--no-verify")
        go_on(root)


def _run_copier(root: Path, model: str, to: str | None, source: str) -> dict:
    import copier

    options = {"defaults": True, "overwrite": True, "unsafe": True, "quiet": True}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        with (
            _environment(git_environment() | _object_format(root) | {REPORT: str(report)}),
            _copier_errors(model, to, source, report),
        ):
            copier.run_update(root, answers_file=ANSWERS.format(model=model), vcs_ref=to, **options)
        return json.loads(report.read_bytes())


@contextmanager
def _copier_errors(model: str, to: str | None, source: str, report: Path) -> Iterator[None]:
    """Turn what Copier and its child processes raise into a PortError that names the cause."""
    import copier
    import jinja2
    from plumbum import ProcessExecutionError

    others = (copier.errors.CopierError, jinja2.TemplateError, ValueError, TypeError, OSError, RuntimeError)
    try:
        yield
    except copier.errors.TaskError as error:
        raise PortError(_refusal(report) or f"a step of the update of {model} failed ({error})") from None
    except ProcessExecutionError as error:
        raise PortError(_git_failure(model, source, to, error)) from None
    except others as error:
        raise PortError(_explained(model, source, to, error)) from None


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    # Most of Copier's child processes get plumbum's environment, the others this process's.
    from plumbum import local

    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        with local.env():
            local.env.clear()
            local.env.update(variables)
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _object_format(root: Path) -> dict[str, str]:
    # The temporary repositories that Copier makes read the checkout's objects, so they need its object format, whatever
    # init.defaultObjectFormat is.
    shown = (ask_git(root, "rev-parse", "--show-object-format") or b"").decode().strip()
    return {"GIT_DEFAULT_HASH": shown or "sha1"}


def _refusal(report: Path) -> str:
    return json.loads(report.read_bytes()).get("refused", "") if report.is_file() else ""


def _git_failure(model: str, source: str, to: str | None, error) -> str:
    said = reason(error.stderr)
    if to and to in error.argv:
        return _no_version(source, to, said)
    if {"clone", "ls-remote", "remote"} & set(error.argv):
        return _unreachable(model, source, said)
    return f"git {' '.join(map(str, error.argv[1:3]))} failed while {model} was updated ({said})"


def _no_version(source: str, to: str, said: str) -> str:
    return f"{source} has no version {to} ({said}); name one of its tags with --to, or leave --to out"


def _explained(model: str, source: str, to: str | None, error: Exception) -> str:
    text = str(error)
    where = ANSWERS.format(model=model)
    if "Unknown revision" in text:
        if to and repr(to) in text:
            return _no_version(source, to, text)
        return (
            f"{where} names a version that {source} does not have ({text}); write the nearest tag as `_commit` there "
            "and commit, then run this again"
        )
    if "downgrading" in text:
        return f"{where} is from a newer template than {source} offers ({text}); name a newer one with --to, such as --to HEAD"
    if re.match(r"Validation error|Invalid |Question |Not a YAML list", text):
        return f"{where}: {text}; fix the answer there and commit, or restore the file from an earlier commit"
    return f"{model} could not be updated from {source}: {text}"
