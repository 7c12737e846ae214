"""``mflux-port update``: update one port, or all ports of a checkout, to the newest template."""

from __future__ import annotations

import argparse
import sys

from mflux_port.checkout.lock import exclusive
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError, format_error
from mflux_port.json_output import print_json
from mflux_port.port.port import list_ports
from mflux_port.update.rollback import restore
from mflux_port.update.tree import WAY_BACK, verify_clean, verify_git


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="the port's package name (default: the checkout's only port)")
    parser.add_argument("--all", action="store_true", help="every port in the checkout, each with its own commit")
    parser.add_argument("--to", metavar="VERSION", help="the template's version (default: its newest tag)")
    parser.add_argument("--template", metavar="PATH", help="where the template is now: a folder or an address")
    parser.add_argument("--restore", action="store_true", help="restore the tree after an update was interrupted")


def run(args: argparse.Namespace) -> int:
    """Update. Returns 0, 1 when files have conflicts, 2 when a port was refused: its files are unchanged."""
    root = Checkout(args.checkout).root
    if args.restore:
        return _restore(root, args.json)
    models = _models(root, args)
    _verify_texts(args)
    verify_git(root)  # before a lock is written to a place where git's folder should be
    with exclusive(root):  # a lock file of another run is not a change by the porter
        verify_clean(root)
    if not args.json:
        print(f"if this is interrupted, `{WAY_BACK}` restores the tree", flush=True)
    reports = _update_each(root, models, args)
    if args.json:
        print_json("update", {"updates": reports})
    conflicts = reports[-1].get("conflicts")
    if conflicts:
        _say_conflicts(conflicts, reports[-1]["model"], models[len(reports) :])
    refused = any("refused" in report for report in reports)
    return 2 if refused else 1 if conflicts else 0


def _restore(root, as_json: bool) -> int:
    said = restore(root)
    if as_json:
        print_json("update --restore", {"restored": said})
    else:
        print(said)
    return 0


def _verify_texts(args: argparse.Namespace) -> None:
    for name, what in (("to", "version"), ("template", "place")):
        given = getattr(args, name) or ""
        if given.startswith("-"):
            raise PortError(f"--{name} {given} is not a {what} of a template; git would take it as an option")


def _models(root, args: argparse.Namespace) -> list[str]:
    known = list_ports(root)
    if args.model and args.all:
        raise PortError("name one port or --all, not both")
    if not known:
        raise PortError(f"{root} has no port of this template (no porting/<model>/answers.yml)")
    if args.all:
        return known
    if args.model:
        if args.model not in known:
            raise PortError(f"{root} has no port {args.model}; it has {', '.join(known)}")
        return [args.model]
    if len(known) > 1:
        raise PortError(f"{root} has {len(known)} ports ({', '.join(known)}); name one, or --all")
    return known


def _update_each(root, models: list[str], args: argparse.Namespace) -> list[dict]:
    from mflux_port.update.steps import report_lines

    reports = []
    for model in models:
        report = _update(root, model, args)
        reports.append(report)
        if not args.json and "refused" not in report:
            current = not report["files"] and not report["conflicts"]
            print(f"{model}: up to date" if current else f"{model}: {len(report['files'])} files changed")
            for line in report_lines(report):
                print(f"  {line}")
        if report.get("conflicts"):
            break
    return reports


def _update(root, model: str, args: argparse.Namespace) -> dict:
    from mflux_port.update.run import update_port

    if not args.all:
        return update_port(root, model, args.to, args.template)
    try:
        return update_port(root, model, args.to, args.template, commit=True)
    except PortError as error:  # a refused port does not stop the others
        refused = format_error(error)
        print(f"mflux-port: {model} was not updated: {refused}", file=sys.stderr)
        return {"model": model, "refused": refused}


def _say_conflicts(conflicts: list[dict], model: str, rest: list[str]) -> None:
    files = sorted({entry["file"] for entry in conflicts})
    print(f"{model} has conflicts in {', '.join(files)}; resolve them, `git add` the files and commit", file=sys.stderr)
    if rest:
        print(f"not updated yet: {', '.join(rest)}; then run this again", file=sys.stderr)
