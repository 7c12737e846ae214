"""``mflux-port status``: show the progress of every port in the checkout."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from mflux_port import __version__
from mflux_port.checkout.lock import shared
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.evaluate import all_models
from mflux_port.checks.engine.facts import Facts
from mflux_port.checks.progress import STEPS, Progress, progress
from mflux_port.errors import PortError, format_error
from mflux_port.port.port import list_ports
from mflux_port.update.port_state import Conflict, PortState, conflicts, port_files, port_state, version_of
from mflux_port.update.tracked import ignored_line

_OWN = version_of(f"v{__version__}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="one port only")


def run(args: argparse.Namespace) -> int:
    """Print the ports. Returns 0, or 1 when one has conflicts, lost wiring or answers that cannot be read.

    Raises PortError when the requested one cannot be read.
    """
    checkout = Checkout(args.checkout)
    with shared(checkout.root):
        return _run(args, checkout)


def _run(args: argparse.Namespace, checkout: Checkout) -> int:
    facts = Facts(checkout)
    known = list_ports(checkout.root)
    if args.model and args.model not in known:
        raise PortError(
            f"{args.model} has no porting folder here; the checkout's ports are {', '.join(known) or 'none'}"
        )
    ports = [_look(checkout, facts, name) for name in ([args.model] if args.model else known)]
    if args.model and isinstance(ports[0], _Unreadable) and not ports[0].conflicts:
        raise PortError(ports[0].error)
    merged = [name for name in all_models(facts) if name not in known]
    if args.json:
        print(json.dumps({"ports": [port.as_json() for port in ports], "merged": merged}, indent=1))
    else:
        print("\n".join(_lines(ports, [] if args.model else merged)))
    return 1 if any(port.conflicts or not port.wired for port in ports) else 0


def _look(checkout: Checkout, facts: Facts, model: str) -> _Port | _Unreadable:
    try:
        return _Port(port_state(checkout, model), progress(facts, model))
    except PortError as error:  # the other ports are still shown
        found = conflicts(checkout.root, port_files(checkout.root, model))
        return _Unreadable(model, format_error(error), tuple(found))


@dataclass(frozen=True)
class _Unreadable:
    model: str
    error: str
    conflicts: tuple[Conflict, ...]
    wired = False

    def lines(self) -> list[str]:
        return [f"{self.model}: cannot be read", f"  {self.error}", *_conflict_lines(self.conflicts)]

    def as_json(self) -> dict:
        return {"model": self.model, "error": self.error, "conflicts": [str(entry) for entry in self.conflicts]}


@dataclass(frozen=True)
class _Port:
    state: PortState
    where: Progress

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        return self.state.conflicts

    @property
    def wired(self) -> bool:
        return self.where.steps["wired"]

    @property
    def next(self) -> str:
        # Lines that another version of the template wrote are updated, not fixed by hand.
        if self.wired or self.state.version in (None, _OWN):
            return self.where.lacks
        if self.state.version < _OWN:
            return f"mflux-port update {self.state.model}"
        return f"mflux-port of {self.state.template_version} or later: this one is {__version__}"

    def lines(self) -> list[str]:
        state, steps = self.state, self.where.steps
        out = [f"{state.model}: {self.where.reached}"]
        out.append("  " + "  ".join(f"[{'x' if steps[name] else ' '}] {name}" for name in STEPS))
        level = "" if state.level_is_current else f", the checkout has {state.checkout_level}"
        out.append(f"  template {state.template_version}; API level {state.api_level}{level}")
        if not state.level_is_current:
            out.append(f"  level: mflux-port update {state.model}")
        out += _conflict_lines(state.conflicts)
        out += [f"  {ignored_line(state.model, list(state.ignored))}"] if state.ignored else []
        return [*out, f"  next: {self.next}"] if self.next else out

    def as_json(self) -> dict:
        return {
            "model": self.state.model,
            "reached": self.where.reached,
            "steps": self.where.steps,
            "next": self.next,
            "template_version": self.state.template_version,
            "api_level": self.state.api_level,
            "checkout_api_level": self.state.checkout_level,
            "wiring": {name: result.state for name, result in self.state.wiring.items()},
            "conflicts": [str(conflict) for conflict in self.state.conflicts],
            "ignored": list(self.state.ignored),
        }


def _lines(ports: list[_Port | _Unreadable], merged: list[str]) -> list[str]:
    out = [line for port in ports for line in port.lines()]
    if not ports:
        out.append("no port from this template here; start one with `copier copy`")
    if merged:
        out.append(f"merged or made by hand: {', '.join(merged)}")
    return out


def _conflict_lines(conflicts: tuple[Conflict, ...]) -> list[str]:
    return [f"  conflict: {conflict}" for conflict in conflicts]
