"""``mflux-port status``: say where every port in the checkout stands."""

from __future__ import annotations

import argparse
import json

from mflux_port.checkout import Checkout
from mflux_port.checks.evaluate import all_models
from mflux_port.checks.facts import Facts
from mflux_port.checks.standing import STEPS, Standing, standing
from mflux_port.errors import PortError
from mflux_port.lock import looking
from mflux_port.port import list_ports
from mflux_port.port_state import PortState, port_state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="one port only")


def run(args: argparse.Namespace) -> int:
    """Print the ports. Returns 0, or 1 when a port has conflict markers or lost wiring."""
    checkout = Checkout(args.checkout)
    with looking(checkout.root):
        return _run(args, checkout)


def _run(args: argparse.Namespace, checkout: Checkout) -> int:
    facts = Facts(checkout)
    known = list_ports(checkout.root)
    if args.model and args.model not in known:
        raise PortError(
            f"{args.model} has no porting folder here; the checkout's ports are {', '.join(known) or 'none'}"
        )
    ports = [(port_state(checkout, name), standing(facts, name)) for name in ([args.model] if args.model else known)]
    merged = [name for name in all_models(facts) if name not in known]
    if args.json:
        print(json.dumps({"ports": [_as_json(*port) for port in ports], "merged": merged}, indent=1))
    else:
        print("\n".join(_lines(ports, [] if args.model else merged)))
    return 1 if any(state.conflicts or not where.steps["wired"] for state, where in ports) else 0


def _lines(ports: list[tuple[PortState, Standing]], merged: list[str]) -> list[str]:
    out = []
    for state, where in ports:
        level = (
            state.api_level if state.level_is_current else f"{state.api_level}, the checkout has {state.checkout_level}"
        )
        out.append(f"{state.model}: {where.reached}")
        out.append("  " + "  ".join(f"[{'x' if where.steps[name] else ' '}] {name}" for name in STEPS))
        out.append(f"  template {state.template_version}; API level {level}")
        if not state.level_is_current:
            out.append(f"  level: mflux-port update {state.model}")
        out += [f"  conflict: {conflict}" for conflict in state.conflicts]
        if where.lacks:
            out.append(f"  next: {where.lacks}")
    if not ports:
        out.append("no port of this template; start one with `copier copy`")
    if merged:
        out.append(f"merged or made by hand: {', '.join(merged)}")
    return out


def _as_json(state: PortState, where: Standing) -> dict:
    return {
        "model": state.model,
        "reached": where.reached,
        "steps": where.steps,
        "next": where.lacks,
        "template_version": state.template_version,
        "api_level": state.api_level,
        "checkout_api_level": state.checkout_level,
        "wiring": {name: result.state for name, result in state.wiring.items()},
        "conflicts": [str(conflict) for conflict in state.conflicts],
    }
