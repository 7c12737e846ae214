"""``mflux-port finish``: remove the scaffolding before the pull request."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path

from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.transaction import commit, locked
from mflux_port.checkout.tree import Checkout, state_dir
from mflux_port.checks import report
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.rule import MERGE
from mflux_port.checks.engine.run_rules import check, failures, find_package
from mflux_port.checks.pull_request import description
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.json_output import print_json
from mflux_port.port.port import ANSWERS, load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--dry-run", action="store_true", help="print the description and the diff, write nothing")
    parser.add_argument("--description", type=Path, metavar="FILE", help="write the description to FILE, not to stdout")


def run(args: argparse.Namespace) -> int:
    """Finish. Returns 1, and removes nothing, when a row of ``check --merge`` fails."""
    checkout = Checkout(args.checkout)
    if args.dry_run:
        with shared(checkout.root):
            return _preview(args, checkout)
    with exclusive(checkout.root):
        if _was_killed(checkout.root, args.model):
            return _end(args, checkout.root)
        return _finish(args, checkout)


def _was_killed(root: Path, model: str) -> bool:
    # An earlier run removed the port's files and did not finish.
    return _note(root, model).exists() and not (root / ANSWERS.format(model=model)).exists()


def _preview(args: argparse.Namespace, checkout: Checkout) -> int:
    rows, files, text, _ = _check(args, checkout)
    found = _facts(checkout, files, text) | {"rows": [row.as_json() for row in failures(rows)]}
    if args.json:
        print_json("finish", found)
    else:
        print(text + _diff(checkout.root, files))
    return 1 if failures(rows) else 0


def _finish(args: argparse.Namespace, checkout: Checkout) -> int:
    rows, files, text, package = _check(args, checkout)
    if failures(rows):
        if args.json:
            facts = _facts(checkout, [], text) | {"rows": [row.as_json() for row in failures(rows)]}
            print_json("finish", facts)
        print(f"nothing was removed: fix these rows and run `mflux-port finish {args.model}` again", file=sys.stderr)
        return 1
    names = [path.relative_to(checkout.root).as_posix() for path in files]
    _verify_committed(package, names)
    written = _description(args, checkout.root, text)
    write_whole(_note(checkout.root, args.model), json.dumps(_facts(checkout, files, text)))
    _remove(checkout.root, names, written)
    return _end(args, checkout.root)


def _check(args: argparse.Namespace, checkout: Checkout):
    load_port(checkout.root, args.model)
    rows = check(checkout, [args.model], {MERGE})
    package = find_package(Facts(checkout), args.model)
    if failures(rows):
        print("\n".join(report.lines(failures(rows))), file=sys.stderr)
    return rows, _scaffolding(checkout.root, args.model), description(package, rows), package


def _scaffolding(root: Path, model: str) -> list[Path]:
    # The test of the key list reads porting/<model>/, so it is removed too.
    key_test = root / f"tests/parity/test_{model}_checkpoint_keys.py"
    files = [*(root / f"porting/{model}").rglob("*"), key_test]
    return sorted(path for path in files if path.is_file())


def _verify_committed(package, names: list[str]) -> None:
    # Git can restore what is committed; anything else would be lost.
    git = package.facts.git
    if not git("rev-parse", "--git-dir"):
        raise PortError(
            f"{package.facts.root} is not a git checkout, so removed files could not be restored; make it one first"
        )
    states = git("status", "--porcelain", "--untracked-files=all", "--ignored=matching", "--", *names)
    changed = [line for line in states if not (line.startswith("!!") and _is_generated(line[3:]))]
    if not changed:
        return
    name = changed[0][3:]
    if changed[0].startswith("!!"):
        raise PortError(f"{name} is ignored by git, so it could not be restored; move or delete it, and run this again")
    raise PortError(f"{name} is not committed; commit it, so that git can restore it, and run this again")


def _is_generated(name: str) -> bool:
    # Created by the harness, by Python or by the Finder.
    return bool({"artifacts", "__pycache__", ".DS_Store"} & set(Path(name).parts))


def _description(args: argparse.Namespace, root: Path, text: str) -> dict[str, bytes]:
    # A file inside the checkout is written together with the removal or not at all: if left over, it would fail the
    # next run's check.
    path = args.description and args.description.resolve()
    if path and path.is_relative_to(root):
        return {path.relative_to(root).as_posix(): text.encode()}
    if path:
        write_whole(path, text)
    return {}


def _remove(root: Path, names: list[str], written: dict[str, bytes]) -> None:
    with locked(root):
        commit(root, written | dict.fromkeys([name for name in names if not _is_generated(name)]))


def _end(args: argparse.Namespace, root: Path) -> int:
    # Generated files, which may be gigabytes, are not in the journal. If this is killed, the next run does it again.
    note = _note(root, args.model)
    facts = json.loads(note.read_text(encoding="utf-8"))
    folder = root / f"porting/{args.model}"
    for path in sorted([folder.parent, folder, *folder.rglob("*")], reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and _is_generated(path.relative_to(folder).as_posix()):
            path.unlink()
    if args.json:
        print_json("finish", facts)
    else:
        print(_done(args, root, facts))
    note.unlink()
    return 0


def _note(root: Path, model: str) -> Path:
    return state_dir(root) / f"finished-{model}.json"


def _diff(root: Path, files: list[Path]) -> str:
    lines: list[str] = []
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            old = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            lines.append(f"Binary file {name} is removed\n")
            continue
        lines += difflib.unified_diff(old, [], f"a/{name}", "/dev/null")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _facts(checkout: Checkout, files: list[Path], text: str) -> dict:
    return {"removed": [path.relative_to(checkout.root).as_posix() for path in files], "description": text, "rows": []}


def _done(args: argparse.Namespace, root: Path, facts: dict) -> str:
    what = f"porting/{args.model} was removed ({len(facts['removed'])} files)"
    path = args.description and args.description.resolve()
    # The description belongs in the pull request, not in the commit.
    but = f" -- . ':!{path.relative_to(root).as_posix()}'" if path and path.is_relative_to(root) else ""
    next_ = f'next: git add -A{but} && git commit -m "Remove the scaffolding of {args.model}"'
    return f"{what}\n{next_}" if args.description else f"{facts['description']}\n{what}\n{next_}"
