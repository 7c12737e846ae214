"""``mflux-port wire``: add a port to mflux's shared files."""

from __future__ import annotations

import argparse

from mflux_port import wiring
from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.tree import Checkout
from mflux_port.json_output import print_diff, print_json
from mflux_port.port.port import load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--dry-run", action="store_true", help="print the diff, write nothing")


def run(args: argparse.Namespace) -> int:
    """Wire, or print what wiring would change."""
    checkout = Checkout(args.checkout)
    with shared(checkout.root) if args.dry_run else exclusive(checkout.root):
        port = load_port(checkout.root, args.model)
        if args.dry_run:
            wiring.verify_free(checkout, port)
            print_diff("wire --dry-run", wiring.diff(checkout, wiring.plan_wire(checkout, port)), args.json)
        else:
            report("wire", wiring.wire(checkout, port), args.json)
    return 0


def report(form: str, results: list[wiring.SurfaceResult], as_json: bool) -> None:
    """Print one line per surface, or all of them as JSON."""
    if as_json:
        print_json(form, {"surfaces": [result._asdict() for result in results]})
        return
    for result in results:
        print(result)
