"""``mflux-port check``: check ports against the integration checklist."""

from __future__ import annotations

import argparse

from mflux_port.checkout.lock import shared
from mflux_port.checkout.tree import Checkout
from mflux_port.checks import report
from mflux_port.checks.engine.registry import GROUPS, all_rules
from mflux_port.checks.engine.rule import MERGE, RUN, Rule
from mflux_port.checks.engine.run_rules import check, failures
from mflux_port.errors import PortError
from mflux_port.json_output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="a package below src/mflux/models (default: all of them)")
    parser.add_argument("--merge", action="store_true", help="also check what must hold before the pull request")
    parser.add_argument("--run", action="store_true", dest="execute", help="also run the tests, ruff and mflux-save")
    parser.add_argument("--explain", metavar="RULE", help="explain a rule: what it looks at, its fix, and its reason")
    parser.add_argument("--all", action="store_true", help="also print the rows that pass or do not apply")


def run(args: argparse.Namespace) -> int:
    """Check. Returns 0 when no row fails, 1 when one does."""
    if args.explain:
        return _explain(args.explain, args.json)
    also = {MERGE} if args.merge else set()
    also |= {RUN} if args.execute else set()
    checkout = Checkout(args.checkout)
    with shared(checkout.root):
        rows = check(checkout, [] if args.model is None else [args.model], also)
    if args.json:
        print_json("check", {"rows": [row.as_json() for row in rows]})
    else:
        print("\n".join(report.lines(rows, args.all)))
    return 1 if failures(rows) else 0


def _explain(name: str, as_json: bool) -> int:
    rules = all_rules()
    rule = rules.get(name.upper())
    if rule is None:
        near = sorted(known for known in rules if known.startswith(name[:3].upper()))
        groups = f"{', '.join(GROUPS)} followed by two digits; `mflux-port check --all` prints every rule"
        raise PortError(f"{name} is not a rule; name one of {', '.join(near) or groups}")
    if as_json:
        print_json("check --explain", _fields(rule))
    else:
        print("\n".join(report.explanation(rule)))
    return 0


def _fields(rule: Rule) -> dict:
    return {key: getattr(rule, key) for key in ("id", "title", "looks_at", "fix", "why", "when")}
