"""``mflux-port finish``: take the scaffolding away before the pull request."""

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
from mflux_port.checks.engine.evaluate import check, failures, find_package
from mflux_port.checks.engine.facts import Facts
from mflux_port.checks.engine.rule import MERGE
from mflux_port.checks.pull_request import description
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.port.port import ANSWERS, load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--dry-run", action="store_true", help="print the description and the diff, write nothing")
    parser.add_argument("--description", type=Path, metavar="FILE", help="write the description there, not to stdout")


def run(args: argparse.Namespace) -> int:
    """Finish. Returns 1, and takes nothing away, when a row of ``check --merge`` fails."""
    checkout = Checkout(args.checkout)
    if args.dry_run:
        with shared(checkout.root):
            return _preview(args, checkout)
    with exclusive(checkout.root):
        if (
            _note(checkout.root, args.model).exists()
            and not (checkout.root / ANSWERS.format(model=args.model)).exists()
        ):
            return _end(args, checkout.root)  # of a run that was killed: its files are gone, its words are not said
        return _take_away(args, checkout)


def _preview(args: argparse.Namespace, checkout: Checkout) -> int:
    rows, files, text, _ = _look(args, checkout)
    found = _facts(checkout, files, text) | {"rows": [row.as_json() for row in failures(rows)]}
    print(json.dumps(found, indent=1) if args.json else text + _diff(checkout.root, files))
    return 1 if failures(rows) else 0


def _take_away(args: argparse.Namespace, checkout: Checkout) -> int:
    rows, files, text, package = _look(args, checkout)
    if failures(rows):
        if args.json:
            print(
                json.dumps(_facts(checkout, [], text) | {"rows": [row.as_json() for row in failures(rows)]}, indent=1)
            )
        print(
            f"nothing was taken away: mend these rows and run `mflux-port finish {args.model}` again", file=sys.stderr
        )
        return 1
    names = [path.relative_to(checkout.root).as_posix() for path in files]
    _verify_committed(package, names)
    written = _description(args, checkout.root, text)
    write_whole(_note(checkout.root, args.model), json.dumps(_facts(checkout, files, text)))
    _remove(checkout.root, names, written)
    return _end(args, checkout.root)


def _look(args: argparse.Namespace, checkout: Checkout):
    load_port(checkout.root, args.model)
    rows = check(checkout, [args.model], {MERGE})
    package = find_package(Facts(checkout), args.model)
    if failures(rows):
        print("\n".join(report.lines(failures(rows))), file=sys.stderr)
    return rows, _scaffolding(checkout.root, args.model), description(package, rows), package


def _scaffolding(root: Path, model: str) -> list[Path]:
    # The test of the key list reads porting/<model>/ and goes with it.
    key_test = root / f"tests/parity/test_{model}_checkpoint_keys.py"
    files = [*(root / f"porting/{model}").rglob("*"), key_test]
    return sorted(path for path in files if path.is_file())


def _verify_committed(package, names: list[str]) -> None:
    # What git has can be brought back; what it has not would be lost.
    git = package.facts.git
    if not git("rev-parse", "--git-dir"):
        raise PortError(f"{package.facts.root} is no git checkout, which could bring the files back; make it one first")
    states = git("status", "--porcelain", "--untracked-files=all", "--ignored=matching", "--", *names)
    changed = [line for line in states if not (line.startswith("!!") and _is_made_again(line[3:]))]
    if not changed:
        return
    name = changed[0][3:]
    if changed[0].startswith("!!"):
        raise PortError(
            f"{name} is ignored by git, which could not bring it back; move or delete it, and run this again"
        )
    raise PortError(f"{name} is not committed; commit it once, so that git can bring it back, and run this again")


def _is_made_again(name: str) -> bool:
    # By the next run, by Python, by the Finder.
    return bool({"artifacts", "__pycache__", ".DS_Store"} & set(Path(name).parts))


def _description(args: argparse.Namespace, root: Path, text: str) -> dict[str, bytes]:
    # Inside the checkout it comes with the removal, or not at all: a stray file fails the check of the next run.
    path = args.description and args.description.resolve()
    if path and path.is_relative_to(root):
        return {path.relative_to(root).as_posix(): text.encode()}
    if path:
        write_whole(path, text)
    return {}


def _remove(root: Path, names: list[str], written: dict[str, bytes]) -> None:
    with locked(root):
        commit(root, written | dict.fromkeys([name for name in names if not _is_made_again(name)]))


def _end(args: argparse.Namespace, root: Path) -> int:
    # What no journal has to hold, artifacts are gigabytes, and the words; killed in here, the next run comes here again.
    note = _note(root, args.model)
    facts = json.loads(note.read_text(encoding="utf-8"))
    folder = root / f"porting/{args.model}"
    for path in sorted([folder.parent, folder, *folder.rglob("*")], reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and _is_made_again(path.relative_to(folder).as_posix()):
            path.unlink()
    print(json.dumps(facts, indent=1) if args.json else _done(args, root, facts))
    note.unlink()
    return 0


def _note(root: Path, model: str) -> Path:
    return state_dir(root) / f"finished-{model}.json"


def _diff(root: Path, files: list[Path]) -> str:
    made: list[str] = []
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            old = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            made.append(f"Binary file {name} is removed\n")
            continue
        made += difflib.unified_diff(old, [], f"a/{name}", "/dev/null")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in made)


def _facts(checkout: Checkout, files: list[Path], text: str) -> dict:
    return {"removed": [path.relative_to(checkout.root).as_posix() for path in files], "description": text, "rows": []}


def _done(args: argparse.Namespace, root: Path, facts: dict) -> str:
    what = f"porting/{args.model} is gone ({len(facts['removed'])} files)"
    path = args.description and args.description.resolve()
    # The description is for the pull request, not for the commit.
    but = f" -- . ':!{path.relative_to(root).as_posix()}'" if path and path.is_relative_to(root) else ""
    next_ = f'next: git add -A{but} && git commit -m "Take the scaffolding of {args.model} away"'
    return f"{what}\n{next_}" if args.description else f"{facts['description']}\n{what}\n{next_}"
