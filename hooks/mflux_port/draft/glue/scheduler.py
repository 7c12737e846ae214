"""The port's own scheduler, from the sigmas that the pipeline was seen to use; and whether mflux's does for it."""

from __future__ import annotations

from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port

_LINEAR = "linspace(1, 1 / steps, steps)"
_SHIFTS = {"mu linear in the image tokens, base_shift to max_shift": "linear_mu", "mu by FLUX.2's empirical formula": "empirical"}


def written(port: Port, facts: dict[str, dict]) -> tuple[str | None, list[Unresolved]]:
    """The scheduler's source for the answer ``own``; None for another, with an open question where it does not do."""
    fact = facts.get("schedule", {})
    value = fact.get("value")
    if not value:
        return None, [_open("the runs do not explain the sigmas", fact)]
    if port.scheduler != "own":
        return None, _doubts(port, value)
    return None, [_open("the template's own scheduler has a static shift of 3", {"alternatives": [str(value)]})]


def _doubts(port: Port, value: dict) -> list[Unresolved]:
    if value["sigmas"] != _LINEAR:
        return [_open(f"the pipeline's sigmas are {value['sigmas']}, those of {port.scheduler} fall from 1 to 1 / steps", {})]
    return []


def _open(why: str, fact: dict) -> Unresolved:
    candidates = tuple(map(str, fact.get("alternatives", ()))) or ("answer own for the scheduler, copy and draft again",)
    return Unresolved("pipeline", "schedule", why, candidates)
