"""``mflux-port status``: show the progress of every port in the checkout."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from mflux_port.checkout.lock import shared
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.run_rules import all_models
from mflux_port.checks.progress import STEPS, Progress
from mflux_port.errors import PortError, format_error
from mflux_port.guide.action import Action, commit
from mflux_port.guide.next_action import next_action, resolve
from mflux_port.guide.port_status import PortStatus
from mflux_port.json_output import print_json
from mflux_port.port.port import ANSWERS, list_ports
from mflux_port.update.port_state import Conflict, PortState, conflicts, port_files


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
    finished = [name for name in all_models(facts) if name not in known]
    ports = [_look(checkout, facts, name, finished) for name in ([args.model] if args.model else known)]
    if args.model and isinstance(ports[0], _Unreadable) and not ports[0].conflicts:
        raise PortError(ports[0].error)
    merged = [] if args.model else finished
    if args.json:
        print_json("status", {"ports": [port.as_json() for port in ports], "merged": merged})
    else:
        print("\n".join(_lines(ports, merged)))
    return 1 if any(port.conflicts or not port.wired for port in ports) else 0


def _look(checkout: Checkout, facts: Facts, model: str, finished: list[str]) -> _Port | _Finished | _Unreadable:
    known = list_ports(checkout.root)
    if model in finished:
        return _Finished(model, bool(facts.git("status", "--porcelain")))
    if model not in known:
        raise PortError(
            f"{model} has no porting folder here; the checkout's ports are {', '.join(known) or 'none'}; "
            "start one with `mflux-port start`"
        )
    try:
        status = PortStatus(checkout, facts, model)
        return _Port(status.state, status.progress, next_action(status))
    except PortError as error:  # the other ports are shown anyway
        found = conflicts(checkout.root, port_files(checkout.root, model))
        return _Unreadable(model, format_error(error), tuple(found))


@dataclass(frozen=True)
class _Finished:
    """A package without a porting folder: merged, written by hand, or finished."""

    model: str
    changed: bool
    conflicts = ()
    wired = True

    @property
    def next(self) -> Action | None:
        if not self.changed:
            return None
        return commit(f"Remove the scaffolding of {self.model}", "the scaffolding is removed and not committed")

    def lines(self) -> list[str]:
        nothing = ["  next: nothing; open the pull request"]
        return [f"{self.model}: finished", *(self.next.lines() if self.next else nothing)]

    def as_json(self) -> dict:
        return {"model": self.model, "reached": "finished", "next": self.next and self.next._asdict()}


@dataclass(frozen=True)
class _Unreadable:
    model: str
    error: str
    conflicts: tuple[Conflict, ...]
    wired = False

    @property
    def next(self) -> Action:
        if self.conflicts:
            return resolve(self.conflicts[0])
        return Action(f"mflux-port status {self.model}", self.error, ANSWERS.format(model=self.model))

    def lines(self) -> list[str]:
        said = [f"{self.model}: cannot be read", f"  {self.error}", *_conflict_lines(self.conflicts)]
        return [*said, *self.next.lines()]

    def as_json(self) -> dict:
        found = [str(entry) for entry in self.conflicts]
        return {"model": self.model, "error": self.error, "conflicts": found, "next": self.next._asdict()}


@dataclass(frozen=True)
class _Port:
    state: PortState
    where: Progress
    next: Action

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        return self.state.conflicts

    @property
    def wired(self) -> bool:
        return self.where.steps["wired"]

    def lines(self) -> list[str]:
        state, steps = self.state, self.where.steps
        level = "" if state.level_is_current else f", the checkout has {state.checkout_level}"
        return [
            f"{state.model}: {self.where.reached}",
            "  " + "  ".join(f"[{'x' if steps[name] else ' '}] {name}" for name in STEPS),
            f"  template {state.template_version}; API level {state.api_level}{level}",
            *_conflict_lines(state.conflicts),
            *self.next.lines(),
        ]

    def as_json(self) -> dict:
        return {
            "model": self.state.model,
            "reached": self.where.reached,
            "steps": self.where.steps,
            "next": self.next._asdict(),
            "template_version": self.state.template_version,
            "api_level": self.state.api_level,
            "checkout_api_level": self.state.checkout_level,
            "wiring": {name: result.state for name, result in self.state.wiring.items()},
            "conflicts": [str(conflict) for conflict in self.state.conflicts],
            "ignored": list(self.state.ignored),
        }


def _lines(ports: list[_Port | _Finished | _Unreadable], merged: list[str]) -> list[str]:
    out = [line for port in ports for line in port.lines()]
    if not ports:
        out.append("no port from this template here; start one with `mflux-port start`")
    if merged:
        out.append(f"merged or made by hand: {', '.join(merged)}")
    return out


def _conflict_lines(conflicts: tuple[Conflict, ...]) -> list[str]:
    return [f"  conflict: {conflict}" for conflict in conflicts]
