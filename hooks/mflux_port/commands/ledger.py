"""``mflux-port ledger``: account for every checkpoint tensor and every MLX parameter, or for a LoRA's keys."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.tree import Checkout, verify_inside
from mflux_port.json_output import print_json
from mflux_port.port.port import Port, load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--checkpoint", metavar="PATH", help="folder, file or repo id (default: the stored key list)")
    parser.add_argument("--key", help="the registry entry whose sizes the modules get (default: the port's first)")
    parser.add_argument("--component", action="append", metavar="NAME", help="only this component; may be repeated")
    parser.add_argument("--lora", nargs="+", metavar="FILE", help="account for the keys of LoRA files instead")
    parser.add_argument("--dry-run", action="store_true", help="print the account, write nothing")


def run(args: argparse.Namespace) -> int:
    """Print the account. Returns 1 if anything is open.

    An account of the whole port ticks its box in PORTING.md, or removes the tick. With a checkpoint, its key list is
    stored in the port.
    """
    from mflux_port.ledger.port_modules import use_checkout

    checkout = Checkout(args.checkout)
    with shared(checkout.root) if args.lora or args.dry_run else exclusive(checkout.root):
        port = load_port(checkout.root, args.model)
        _verify_files(args, checkout, port)
        use_checkout(checkout)
        return _run_lora(args, port) if args.lora else _run(args, checkout, port)


def _run(args: argparse.Namespace, checkout: Checkout, port: Port) -> int:
    from mflux_port.checkpoint.keylist import snapshot
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.ledger.port_account import account_port
    from mflux_port.ledger.stored_keys import store_keys, stored_keys

    checkpoint = open_checkpoint(args.checkpoint) if args.checkpoint is not None else None
    taken = snapshot(checkpoint) if checkpoint else stored_keys(checkout, port)
    found = account_port(checkout, port, taken, checkpoint and checkpoint.root, args.key, args.component)
    changes = store_keys(checkout, port, taken) if checkpoint and not args.dry_run else []
    if not args.dry_run:
        _note(args, checkout, port, found)
    _print(args, found, changes)
    return 1 if found.open else 0


def _print(args: argparse.Namespace, found, changes: list[str]) -> None:
    from mflux_port.ledger.account_text import format_accounts

    if not args.json:
        print("\n".join([format_accounts(found.components, found.findings), *changes]))
        return
    parts = [{**asdict(account), "findings": len(account.findings)} for account in found.components]
    rows = [asdict(finding) | {"fails": finding.fails} for finding in found.findings]
    facts = {"passed": not found.open, "components": parts, "findings": rows, "key_list": changes}
    print_json("ledger", facts)


def _note(args: argparse.Namespace, checkout: Checkout, port: Port, found) -> None:
    # The files that `status` reads: the box, and the open findings.
    from mflux_port.port.checkpoint_place import remember_checkpoint
    from mflux_port.port.guide_boxes import LEDGER_BOX, set_box
    from mflux_port.port.last_result import LEDGER, write_result

    if args.checkpoint is not None:
        remember_checkpoint(checkout.root, port, args.checkpoint)
    if args.component:
        return
    set_box(checkout.root, port, LEDGER_BOX, not found.open)
    lines = [f"{one.component} {one.name} ({one.kind}: {one.why})" for one in found.open]
    write_result(checkout.root / LEDGER.format(model=port.model), {"passed": not lines, "open": lines})


def _verify_files(args: argparse.Namespace, checkout: Checkout, port: Port) -> None:
    # Report wrong files before loading MLX.
    from mflux_port.checkpoint.headers import read_header
    from mflux_port.checkpoint.keylist import KEYLIST
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.ledger.port_modules import verify_key
    from mflux_port.ledger.stored_keys import stored_keys
    from mflux_port.ledger.waivers import WAIVERS, read_waivers

    for name in args.lora or ():
        read_header(Path(name))
    read_waivers(checkout.root / WAIVERS.format(model=port.model))
    verify_inside(checkout.root, KEYLIST.format(model=port.model))
    verify_key(port, args.key)
    if args.checkpoint is not None:
        open_checkpoint(args.checkpoint)
    elif not args.lora:
        stored_keys(checkout, port)


def _run_lora(args: argparse.Namespace, port: Port) -> int:
    from mflux_port.checkpoint.headers import read_header
    from mflux_port.ledger.lora_matching import account_lora, format_lora
    from mflux_port.ledger.port_modules import build_modules, lora_mapping

    targets, holder = lora_mapping(port), build_modules(port, args.key)
    accounts = [account_lora(name, read_header(Path(name)), targets, holder.transformer) for name in args.lora]
    if args.json:
        files = [{"passed": account.passed, **asdict(account)} for account in accounts]
        print_json("ledger --lora", {"passed": all(account.passed for account in accounts), "loras": files})
    else:
        print("\n\n".join(map(format_lora, accounts)))
    return 0 if all(account.passed for account in accounts) else 1
