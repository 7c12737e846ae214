"""The steps of an update that run in the checkout, as Copier's migrations (``hooks/during_update.py``).

Copier calls them in the order of ``_migrations`` in ``copier.yml``, never in its temporary copies. They run in Copier's
own interpreter. ``mflux-port update`` sets REPORT to a file: the last step then writes its report there as JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout.git import ask_git
from mflux_port.checkout.lock import exclusive
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError, format_error
from mflux_port.port.answers import ANSWERS, read_answers, verify_present
from mflux_port.port.port import load_port, port_from_answers
from mflux_port.template.project import configuration
from mflux_port.update.apply import complete
from mflux_port.update.migrations import committed_answers, migrate, move_file, rename_answer
from mflux_port.update.port_state import Conflict, conflicts, port_files
from mflux_port.update.rollback import roll_back
from mflux_port.update.tracked import ignored_files, ignored_line, verify_tracked
from mflux_port.update.tree import begin, begun_by, changed_files, end, verify_clean
from mflux_port.wiring.surfaces import SURFACES

REPORT = "MFLUX_PORT_REPORT"


def run_step(root: Path, step: str, answers_file: str, *arguments: str) -> int:
    """Run one step. Returns 0, or 2 with one line on stderr when the update must stop: then nothing is changed."""
    try:
        model = _model(answers_file)
        if step != "check":
            _begin(root, model)
        _STEPS[step](root, model, *arguments)
    except (PortError, OSError) as error:
        return _refuse(root, step, format_error(error))
    return 0


def check(root: Path, model: str, data: str, template: str) -> None:
    """Refuse an update that cannot work, before anything is written.

    ``data`` holds the answers given with ``-d`` as JSON, ``template`` is Copier's clone of the template.
    """
    Checkout(root)
    if REPORT not in os.environ:
        with exclusive(root):
            verify_clean(root)  # Copier checks less
    versions = [version for version in (os.environ.get("VERSION_FROM", ""), "HEAD") if version]
    verify_tracked(root, model, Path(template), versions, [surface.FILE.format(model=model) for surface in SURFACES])
    answers = read_answers(root, model)
    _refuse_renames(root, model, answers, json.loads(data))
    missing = asked(Path(template), os.environ.get("VERSION_FROM", "")) - answers.keys()
    if missing:
        where = ANSWERS.format(model=model)
        raise PortError(f"{where} no longer has the answer `{sorted(missing)[0]}`; write it there again and commit")
    verify_present(answers, ANSWERS.format(model=model))  # Copier would replace an invalid answer by the default


def plan(root: Path, model: str, template: str) -> None:
    """Refuse when the shared files cannot be wired, before anything is rendered."""
    answers = read_answers(root, model)
    if asked(Path(template), "HEAD") - answers.keys():
        return  # a new question: the merge adds its answer, then wiring checks the files
    checkout = Checkout(root)
    port = port_from_answers(answers, ANSWERS.format(model=model))
    wiring.verify_free(checkout, port)
    wiring.plan_wire(checkout, port)


def finish(root: Path, model: str, template: str) -> None:
    """Merge the port's files, replay the wiring and report what the update did."""
    from mflux_port.checks.report import what_is_left  # the other steps do not need the rules

    before = committed_answers(root, model)
    completed = complete(root, model, Path(template), os.environ["VERSION_FROM"])
    port = load_port(root, model)
    results = wiring.wire(Checkout(root), port)
    report = {
        "from": str(before.get("_commit", "")),
        "to": port.template_commit,
        "mflux_api": [str(before.get("mflux_api", "")), port.mflux_api],
        "wiring": [result._asdict() for result in results if result.action],
        "files": changed_files(root),
        "added": completed.added,
        "yours": completed.yours,
        "handed_over": completed.handed_over,
        "ignored": [ignored_line(model, ignored)] if (ignored := ignored_files(root, model)) else [],
    }
    report["conflicts"] = [conflict._asdict() for conflict in _conflicts(root, model, report["files"], completed.kept)]
    report["check"] = what_is_left(root, model)
    if REPORT in os.environ:
        _write_report(report)
        return
    end(root)
    for line in report_lines(report):
        print(line)


def report_lines(report: dict) -> list[str]:
    """The lines that describe a finished update."""
    lines = [f"template: {report['from']} -> {report['to']}"] if report["from"] != report["to"] else []
    old, new = report["mflux_api"]
    if old != new:
        lines.append(f"mflux_api: {old} -> {new} (found in this checkout, stored with the answers)")
    lines += [f"{result['file']}: {result['action']} ({result['detail']})" for result in report["wiring"]]
    lines += [f"{name}: yours, added because the answers now ask for it" for name in report["added"]]
    lines += [
        f"{name}: yours, left as it is; the new answers would change it: git diff {old} {new}"
        for name, (old, new) in report["yours"].items()
    ]
    lines += [f"{name}: now yours; later updates do not change it" for name in report["handed_over"]]
    lines += [f"conflict: {Conflict(**entry)}" for entry in report["conflicts"]]
    return [*lines, *report["ignored"], *report["check"]]


def asked(template: Path, version: str) -> set[str]:
    """The questions that ``version`` of the template always asks; empty when that version cannot be read."""
    text = ask_git(template, "show", f"{version}:copier.yml") if version else None
    questions = {name: details for name, details in configuration(text or b"").items() if name[0] != "_"}
    return {name for name, details in questions.items() if not (isinstance(details, dict) and "when" in details)}


def _begin(root: Path, model: str) -> None:
    # Recorded with the first step that writes. The process is Copier's, which holds no lock between its steps.
    copier = os.getppid()
    if begun_by(root, copier):
        return
    if REPORT in os.environ:
        begin(root, model, copier)
        return
    with exclusive(root):
        begin(root, model, copier)


def _refuse(root: Path, step: str, message: str) -> int:
    if REPORT in os.environ:
        _write_report({"refused": message})  # `mflux-port update` rolls back, with the commit that it made
        return 2
    if step != "check" and begun_by(root, os.getppid()):
        try:
            roll_back(root)
        except PortError as error:
            message += f"; {error}"
    print(f"mflux-port: {message}", file=sys.stderr)
    return 2


def _conflicts(root: Path, model: str, files: list[str], kept: dict[str, str]) -> list[Conflict]:
    # Includes conflicts that an earlier update left and that were committed.
    found = conflicts(root, sorted({*files, *port_files(root, model)}))
    return [conflict._replace(why=kept.get(conflict.file, conflict.why)) for conflict in found]


def _refuse_renames(root: Path, model: str, answers: dict, data: dict) -> None:
    for name, old in (("model", model), ("class_name", _defined_class(root, model, answers.get("class_name")))):
        for new in (answers.get(name, old), data.get(name, old)):
            if new != old:
                raise PortError(
                    f"{ANSWERS.format(model=model)} belongs to {name} {old}, and {new} was given: an update does not rename "
                    "a port; put the old name back, or start a port of the new name with `copier copy`"
                )


def _defined_class(root: Path, model: str, answered: object) -> object:
    # Answers can be edited; the port's name is in its code.
    try:
        code = (root / f"src/mflux/models/{model}/variants/txt2img/{model}.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return answered
    defined = re.findall(r"^class (\w+)", code, re.MULTILINE)
    return answered if answered in defined or not defined else defined[0]


def _model(answers_file: str) -> str:
    path = Path(answers_file)
    if path.as_posix() != ANSWERS.format(model=path.parent.name):
        raise PortError(f"{answers_file} is not a port's answers file; name it as -a {ANSWERS.format(model='<model>')}")
    return path.parent.name


def _write_report(report: dict) -> None:
    Path(os.environ[REPORT]).write_text(json.dumps(report), encoding="utf-8")


_STEPS = {
    "check": check,
    "plan": plan,
    "finish": finish,
    "rename-answer": rename_answer,
    "move-file": move_file,
    "migrate": migrate,
}
