"""``mflux-port ledger``: account for every checkpoint tensor and every MLX parameter, or for a LoRA's keys."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.tree import Checkout, verify_inside
from mflux_port.errors import PortError
from mflux_port.port.port import Port, load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--checkpoint", metavar="PATH", help="folder, file or repo id (default: the stored key list)")
    parser.add_argument("--key", help="the registry entry whose sizes the modules get (default: the port's first)")
    parser.add_argument("--component", action="append", metavar="NAME", help="only this component; may be repeated")
    parser.add_argument("--lora", nargs="+", metavar="FILE", help="account for the keys of LoRA files instead")


def run(args: argparse.Namespace) -> int:
    """Print the account. Returns 1 when something is open. With a checkpoint, its key list is stored in the port."""
    from mflux_port.ledger.port_modules import use_checkout

    checkout = Checkout(args.checkout)
    with exclusive(checkout.root) if args.checkpoint is not None and not args.lora else shared(checkout.root):
        port = load_port(checkout.root, args.model)
        _verify_files(args, checkout, port)
        use_checkout(checkout)
        return _run(args, checkout, port)


def _run(args: argparse.Namespace, checkout: Checkout, port: Port) -> int:
    if args.lora:
        return _run_lora(args, port)
    taken, root = _snapshot(checkout, port, args.checkpoint)
    accounts, files = balance(checkout, port, taken, root, args.key, args.component)
    findings = [finding for account in accounts for finding in account.findings] + files
    failed = any(finding.fails for finding in findings)
    changes = _store(checkout, port, taken) if args.checkpoint is not None else []
    if args.json:
        parts = [{**asdict(account), "findings": len(account.findings)} for account in accounts]
        rows = [asdict(finding) | {"fails": finding.fails} for finding in findings]
        print(json.dumps({"passed": not failed, "components": parts, "findings": rows, "key_list": changes}, indent=1))
    else:
        print("\n".join([format_accounts(accounts, findings), *changes]))
    return 1 if failed else 0


def _verify_files(args: argparse.Namespace, checkout: Checkout, port: Port) -> None:
    # Report wrong files before loading MLX.
    from mflux_port.checkpoint.headers import read_header
    from mflux_port.checkpoint.keylist import KEYLIST
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.ledger.port_modules import verify_key
    from mflux_port.ledger.waivers import WAIVERS, read_waivers

    for name in args.lora or ():
        read_header(Path(name))
    read_waivers(checkout.root / WAIVERS.format(model=port.model))
    verify_inside(checkout.root, KEYLIST.format(model=port.model))
    verify_key(port, args.key)
    keys = checkout.root / KEYLIST.format(model=port.model)
    if args.checkpoint is not None:
        open_checkpoint(args.checkpoint)
    elif not args.lora:
        _stored(keys)


def balance(
    checkout: Checkout, port: Port, taken, root: Path | None, key: str | None = None, only: list[str] | None = None
) -> tuple[list, list]:
    """The accounts of the port's components, and the findings about files.

    ``taken``: the checkpoint's Snapshot; ``root``: its folder, None where only the key list is there.
    """
    from mflux_port.ledger.balance import Finding, account
    from mflux_port.ledger.files import account_files
    from mflux_port.ledger.port_modules import build_modules, module_of, weight_definition
    from mflux_port.ledger.reused import known_waivers
    from mflux_port.ledger.waivers import WAIVERS, Waivers, read_waivers

    definition = weight_definition(port)
    components = definition.get_components()
    unknown = set(only or ()) - {component.name for component in components}
    if unknown:
        raise PortError(f"{port.model} has no component {min(unknown)}; it has {', '.join(c.name for c in components)}")
    waivers = read_waivers(checkout.root / WAIVERS.format(model=port.model))
    holder = build_modules(port, key)
    accounts, files = [], [] if only else account_files(definition, taken, waivers)
    for component in components:
        if only and component.name not in only or component.download_url is not None:
            continue
        select = getattr(component, "variant_selector", None)  # since mflux 0.19
        if select is not None:
            if root is None:
                raise PortError(f"{component.name} picks its layout from the files; name the folder with --checkpoint")
            component = select(root)
        tensors = taken.of(component.hf_subdir, component.name)
        if tensors is None:
            files.append(Finding("files", "no weights", component.name, f"{taken.where} has no {component.hf_subdir}"))
            continue
        waived = waivers.get(component.name, Waivers())
        waived.known = known_waivers(port, component.name)
        metadata = taken.metadata_of(component.hf_subdir, component.name)
        accounts.append(account(component, module_of(holder, component), tensors, waived, metadata))
    return accounts, files


def _snapshot(checkout: Checkout, port: Port, where: str | None):
    from mflux_port.checkpoint.keylist import KEYLIST, snapshot
    from mflux_port.checkpoint.layout import open_checkpoint

    if where is None:
        return _stored(checkout.root / KEYLIST.format(model=port.model)), None
    checkpoint = open_checkpoint(where)
    return snapshot(checkpoint), checkpoint.root


def _store(checkout: Checkout, port: Port, taken) -> list[str]:
    # A key list that lacks a component would fail every later ledger.
    from mflux_port.checkpoint.keylist import KEYLIST, keylist_text, merged
    from mflux_port.files.writing import write_whole
    from mflux_port.ledger.port_modules import weight_definition

    path = checkout.root / KEYLIST.format(model=port.model)
    whole, changes = merged(path, taken)
    parts = [part for part in weight_definition(port).get_components() if part.download_url is None]
    lacking = [part.name for part in parts if whole.of(part.hf_subdir, part.name) is None]
    if lacking:
        return [f"{path.name} is not written: {taken.where} has no {', '.join(lacking)}"]
    write_whole(path, keylist_text(whole))
    return changes


def _stored(path: Path):
    from mflux_port.checkpoint.keylist import read_keylist

    if not path.is_file():
        raise PortError(f"{path} is missing; name the checkpoint once with --checkpoint, then it is stored there")
    return read_keylist(path)


_LISTED = 30  # lines of names for one kind of finding


def format_accounts(accounts: list, findings: list) -> str:
    """The account as text: a line per component, then what is open, with names of one kind merged."""
    from mflux_port.checkpoint.keylist import collapse

    lines = [f"{'component':<16}{'tensors':>9}{'parameters':>12}{'waived':>8}{'open':>6}"]
    for account in accounts:
        count = sum(finding.fails for finding in account.findings)
        lines.append(
            f"{account.component:<16}{account.tensors:>9}{account.parameters:>12}{account.waived:>8}{count:>6}"
        )
    order = sorted(findings, key=lambda finding: (not finding.fails, finding.component, finding.kind))
    for (fails, component, kind), group in groupby(order, lambda f: (f.fails, f.component, f.kind)):
        members = list(group)
        example = f"{'such as ' if len(members) > 1 else ''}{members[0].name}: {members[0].why}"
        if not fails:
            lines.append(f"note {component}: {kind} ({len(members)}), {example}")
            continue
        names = collapse(member.name for member in members)
        lines += ["", f"FAIL {component}: {kind} ({len(members)})", *(f"  {name}" for name in names[:_LISTED])]
        lines += [f"  and {len(names) - _LISTED} more lines, which --json lists"] if len(names) > _LISTED else []
        lines.append(f"  {example}")
    if not any(finding.fails for finding in findings):
        lines += ["", "every tensor is taken once, every parameter is filled once"]
    return "\n".join(lines)


def _run_lora(args: argparse.Namespace, port: Port) -> int:
    from mflux_port.checkpoint.headers import read_header
    from mflux_port.ledger.lora_matching import account_lora, format_lora
    from mflux_port.ledger.port_modules import build_modules, lora_mapping

    targets, holder = lora_mapping(port), build_modules(port, args.key)
    accounts = [account_lora(name, read_header(Path(name)), targets, holder.transformer) for name in args.lora]
    if args.json:
        print(json.dumps([{"passed": account.passed, **asdict(account)} for account in accounts], indent=1))
    else:
        print("\n\n".join(map(format_lora, accounts)))
    return 0 if all(account.passed for account in accounts) else 1
