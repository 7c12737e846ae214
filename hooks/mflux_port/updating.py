"""Bring ports to a newer template: Copier's update around them, every failure one line and a clean tree."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from mflux_port.answers import ANSWERS, read_answers, verify_kinds
from mflux_port.errors import PortError
from mflux_port.lock import alone
from mflux_port.updating_steps import REPORT
from mflux_port.updating_tree import COMMITTED, POINTED, begin, end, git, take_back, verify_clean


def update_port(
    root: Path, model: str, to: str | None = None, template: str | None = None, commit: bool = False
) -> dict:
    """Update one port in the checkout ``root`` and give the report of ``updating_steps.finish``.

    ``to`` is a version of the template (default: its newest tag), ``template`` another place where the template lies.
    With ``commit`` the result is committed, unless it has conflicts. Raises PortError, with the tree as it was, when
    the update is refused.
    """
    with alone(root):
        verify_clean(root)
        answers = read_answers(root, model)
        verify_kinds(answers, ANSWERS.format(model=model))
        source = template or _source(answers, model)
        _verify_reachable(model, source)
        begin(root, model, os.getpid())
        try:
            if template:
                _point_to(root, model, template)
            report = _run_copier(root, model, to, source)
            report["committed"] = commit and not report["conflicts"] and _commit(root, model, report["to"])
        except BaseException:
            take_back(root)
            raise
        end(root)
    return {"model": model, **report}


def _commit(root: Path, model: str, to: str) -> bool:
    if not git(root, "status", "--porcelain"):
        return False
    git(root, "add", "--all", "--", ".")
    git(root, "commit", "--quiet", "--message", COMMITTED.format(model=model, to=to))
    return True


def _source(answers: dict, model: str) -> str:
    where = ANSWERS.format(model=model)
    if not answers.get("_src_path"):
        raise PortError(f"{where} has no `_src_path`; say where the template lies with --template PATH")
    if not answers.get("_commit"):
        raise PortError(f"{where} has no `_commit`: the template was not in git; `copier recopy -a {where}` brings one")
    return answers["_src_path"]


def _verify_reachable(model: str, source: str) -> None:
    # Addresses are left to Copier, which asks git; a folder is looked at here, for the better message.
    if re.match(r"(gh:|gl:|git@|git\+|git:|https?:|ssh:|file:)", source) or source.endswith(".git"):
        return
    path = Path(os.path.expanduser(source))
    if not path.exists():
        raise PortError(_unreachable(model, source, "there is no such folder"))
    if path.is_dir():
        try:
            git(path, "rev-parse", "--verify", "HEAD")
        except PortError:
            raise PortError(_unreachable(model, source, "it is no git repository")) from None


def _unreachable(model: str, source: str, reason: str) -> str:
    return (
        f"the template of {model} cannot be reached at {source} ({reason}); "
        f"say where it lies: `mflux-port update {model} --template PATH`"
    )


def _point_to(root: Path, model: str, template: str) -> None:
    # Copier reads the template's place from the committed answers alone, so this is a commit of its own.
    path = root / ANSWERS.format(model=model)
    place = json.dumps(template if _is_address(template) else os.path.realpath(os.path.expanduser(template)))
    text = path.read_text(encoding="utf-8")
    changed = re.sub(r"^_src_path:.*$", lambda match: f"_src_path: {place}", text, flags=re.MULTILINE)
    if changed == text:
        return
    path.write_text(changed, encoding="utf-8")
    git(root, "commit", "--quiet", "--no-verify", "--message", POINTED.format(model=model), "--", str(path))


def _is_address(source: str) -> bool:
    return not Path(os.path.expanduser(source)).exists()


def _run_copier(root: Path, model: str, to: str | None, source: str) -> dict:
    import copier
    import jinja2
    from plumbum import ProcessExecutionError, local

    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        # Copier's child processes get plumbum's environment, which os.environ does not reach.
        with local.env(**{REPORT: str(report), "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}):
            try:
                copier.run_update(
                    root,
                    answers_file=ANSWERS.format(model=model),
                    vcs_ref=to,
                    defaults=True,
                    overwrite=True,
                    unsafe=True,
                    quiet=True,
                )
            except copier.errors.TaskError as error:
                raise PortError(_refusal(report) or f"a step of the update of {model} failed ({error})") from None
            except ProcessExecutionError as error:
                raise PortError(_git_failure(model, source, to, error)) from None
            except (copier.errors.CopierError, jinja2.TemplateError, ValueError, OSError) as error:
                raise PortError(_explained(model, source, error)) from None
        return json.loads(report.read_bytes())


def _refusal(report: Path) -> str:
    return json.loads(report.read_bytes()).get("refused", "") if report.is_file() else ""


def _git_failure(model: str, source: str, to: str | None, error) -> str:
    said = [line for line in str(error.stderr or "").splitlines() if line.strip()]
    last = said[-1].strip() if said else "git failed"
    if "clone" in error.argv or "ls-remote" in error.argv or "remote" in error.argv:
        return _unreachable(model, source, last)
    if to and to in error.argv:
        return f"{source} has no version {to} ({last}); name one of its tags with --to, or leave --to out"
    return f"git {' '.join(map(str, error.argv[1:3]))} failed while {model} was updated ({last})"


def _explained(model: str, source: str, error: Exception) -> str:
    text = str(error)
    where = ANSWERS.format(model=model)
    if "Unknown revision" in text:
        return (
            f"{where} names a version that {source} does not have ({text}); write the nearest tag as `_commit` there "
            "and commit, then run this again"
        )
    if "downgrading" in text:
        return (
            f"{where} is from a newer template than {source} offers ({text}); name a newer one with --to, as --to HEAD"
        )
    if re.match(r"Validation error|Invalid |Question ", text):
        return f"{where}: {text}; mend the answer there and commit, or restore the file from an earlier commit"
    return f"{model} could not be updated from {source}: {text}"
