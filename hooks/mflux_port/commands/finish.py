"""``mflux-port finish``: take the scaffolding away before the pull request."""

from __future__ import annotations

import argparse
import difflib
import json
import shutil
import sys
from pathlib import Path

from mflux_port.checkout import Checkout
from mflux_port.checks import report
from mflux_port.checks.evaluate import check, failures, find_package
from mflux_port.checks.facts import Facts
from mflux_port.checks.pull_request import description
from mflux_port.checks.rule import MERGE
from mflux_port.errors import PortError
from mflux_port.port import load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--dry-run", action="store_true", help="print the description and the diff, write nothing")
    parser.add_argument("--description", type=Path, metavar="FILE", help="write the description there, not to stdout")


def run(args: argparse.Namespace) -> int:
    """Finish. Returns 1, and takes nothing away, when a row of ``check --merge`` fails."""
    checkout = Checkout(args.checkout)
    load_port(checkout.root, args.model)
    rows = check(checkout, [args.model], {MERGE})
    package = find_package(Facts(checkout), args.model)
    text = description(package, rows)
    files = _scaffolding(checkout.root, args.model)
    if failures(rows):
        print("\n".join(report.lines(failures(rows))), file=sys.stderr)
    if args.dry_run:
        print(
            json.dumps(_as_json(checkout, files, text), indent=1) if args.json else text + _diff(checkout.root, files)
        )
        return 1 if failures(rows) else 0
    if failures(rows):
        print(
            f"nothing was taken away: mend these rows and run `mflux-port finish {args.model}` again", file=sys.stderr
        )
        return 1
    _verify_committed(package, [path.relative_to(checkout.root).as_posix() for path in files])
    if args.description:
        args.description.write_text(text, encoding="utf-8")
    _remove(checkout.root / f"porting/{args.model}", files)
    print(json.dumps(_as_json(checkout, files, text), indent=1) if args.json else _done(args, len(files), text))
    return 0


def _scaffolding(root: Path, model: str) -> list[Path]:
    # The test of the key list reads porting/<model>/ and goes with it.
    key_test = root / f"tests/parity/test_{model}_checkpoint_keys.py"
    files = [*(root / f"porting/{model}").rglob("*"), key_test]
    return sorted(path for path in files if path.is_file())


def _verify_committed(package, names: list[str]) -> None:
    # What git has can be brought back; what it has not would be lost.
    changed = package.facts.git("status", "--porcelain", "--untracked-files=all", "--", *names)
    if changed:
        name = changed[0][3:]
        raise PortError(f"{name} is not committed; commit it once, so that git can bring it back, and run this again")


def _remove(folder: Path, files: list[Path]) -> None:
    for path in files:
        path.unlink()
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


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


def _as_json(checkout: Checkout, files: list[Path], text: str) -> dict:
    return {"removed": [path.relative_to(checkout.root).as_posix() for path in files], "description": text}


def _done(args: argparse.Namespace, number: int, text: str) -> str:
    what = f"porting/{args.model} is gone ({number} files)"
    next_ = f'next: git add -A && git commit -m "Take the scaffolding of {args.model} away"'
    return f"{what}\n{next_}" if args.description else f"{text}\n{what}\n{next_}"
