"""Put a port into mflux's shared files, and take it out again. Standard library only."""

from __future__ import annotations

import sys

from mflux_port.checkout.transaction import commit, locked
from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port
from mflux_port.wiring.collisions import verify_free
from mflux_port.wiring.plan import Plan, plan_unwire, plan_wire
from mflux_port.wiring.state import SurfaceResult, inspect

__all__ = ["SurfaceResult", "diff", "plan_unwire", "plan_wire", "states", "unwire", "verify_free", "wire"]


def wire(checkout: Checkout, port: Port) -> list[SurfaceResult]:
    """Put ``port`` into every shared file, all or nothing. A second call changes nothing.

    Raises PortError for a collision, a file with an unknown layout, or a file that cannot be written.
    """
    return _execute(checkout, port, _checked_wire)


def unwire(checkout: Checkout, port: Port) -> list[SurfaceResult]:
    """Take ``port`` out of every shared file. Text that a person has edited stays and is reported."""
    return _execute(checkout, port, plan_unwire)


def states(checkout: Checkout, port: Port) -> dict[str, SurfaceResult]:
    """Return the state of every surface, by its id. Writes nothing, and returns a state for an unknown layout, too."""
    return {result.surface: result for result in inspect(checkout, port)[0]}


def diff(checkout: Checkout, plan: Plan) -> str:
    """Show what a plan changes, as a unified diff, without the port's own record."""
    import difflib  # only a dry run needs it

    lines = []
    for file, data in plan.files.items():
        if file.startswith("porting/"):
            continue
        old = (checkout.read(file) or b"").decode("utf-8", "replace").splitlines(keepends=True)
        new = (data or b"").decode("utf-8", "replace").splitlines(keepends=True)
        names = f"a/{file}" if old else "/dev/null", f"b/{file}" if data is not None else "/dev/null"
        lines += difflib.unified_diff(old, new, *names)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _checked_wire(checkout: Checkout, port: Port) -> Plan:
    verify_free(checkout, port)
    return plan_wire(checkout, port)


def _execute(checkout: Checkout, port: Port, make_plan) -> list[SurfaceResult]:
    with locked(checkout.root) as recovered:
        if recovered:
            print(recovered, file=sys.stderr)
        fresh = Checkout(checkout.root)  # read again under the lock, after a recovery
        plan = make_plan(fresh, port)
        commit(fresh.root, plan.files, plan.originals)
    return plan.results
