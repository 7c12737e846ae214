"""``mflux-port unwire``: remove a port from mflux's shared files."""

from __future__ import annotations

import argparse

from mflux_port import wiring
from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.tree import Checkout
from mflux_port.commands.wire import report
from mflux_port.json_output import print_diff
from mflux_port.port.port import load_port
from mflux_port.template.project import rendered_tests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--dry-run", action="store_true", help="print the diff, write nothing")


def run(args: argparse.Namespace) -> int:
    """Unwire, or print what unwiring would change. The port's own files are kept."""
    checkout = Checkout(args.checkout)
    with shared(checkout.root) if args.dry_run else exclusive(checkout.root):
        port = load_port(checkout.root, args.model)
        if args.dry_run:
            print_diff("unwire --dry-run", wiring.diff(checkout, wiring.plan_unwire(checkout, port)), args.json)
            return 0
        report("unwire", wiring.unwire(checkout, port), args.json)
    if not args.json:
        tests = [name for name in rendered_tests(port.model) if (checkout.root / name).is_file()]
        own = [port.folder, port.porting_folder, *tests]
        print(f"the port's own files are kept; to remove them: git rm -r --ignore-unmatch {' '.join(own)}")
    return 0
