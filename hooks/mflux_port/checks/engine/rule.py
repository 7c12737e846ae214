"""A rule: one row of the checklist, and the function that checks it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mflux_port.checks.engine.package import Package

PASS, FAIL, NOT_APPLICABLE, NEEDS_YOU = "pass", "fail", "not applicable", "needs you"

# When a rule runs: always, with --merge (before the pull request), with --run (it executes something).
ALWAYS, MERGE, RUN = "always", "merge", "run"


class Verdict(NamedTuple):
    """A rule's result: one of the four states, and what was found (or the command for a person to run)."""

    state: str
    detail: str = ""


class Rule(NamedTuple):
    """One row. ``title``: what must be true; ``fix``: what to do if it is not; ``why``: what went wrong earlier.

    ``looks_at`` names the files. ``<model>``, ``<cli>``, ``<key>`` and ``<template>`` in the texts are placeholders for
    the port's names and its template's address.
    """

    id: str
    title: str
    looks_at: str
    fix: str
    why: str
    when: str
    answer: Callable[[Package], Verdict]


RULES: dict[str, Rule] = {}
Reason = Callable[["Package"], str | None]


def rule(id: str, *, looks_at: str, fix: str, why: str, when: str = ALWAYS, only: Reason | None = None):
    """Register the decorated function, whose docstring is the row's title, as the rule ``id``.

    ``only`` returns the reason why the row does not apply to a port, or None when it applies.
    """

    def register(answer: Callable[[Package], Verdict]) -> Callable[[Package], Verdict]:
        if id in RULES:
            raise ValueError(f"two rules have the id {id}")

        @wraps(answer)
        def guarded(package: Package) -> Verdict:
            reason = only(package) if only else None
            return not_applicable(reason) if reason else answer(package)

        RULES[id] = Rule(id, answer.__doc__.strip(), looks_at, fix, why, when, guarded)
        return answer

    return register


def passed(detail: str = "") -> Verdict:
    return Verdict(PASS, detail)


def failed(detail: str) -> Verdict:
    return Verdict(FAIL, detail)


def not_applicable(reason: str) -> Verdict:
    return Verdict(NOT_APPLICABLE, reason)


def needs_you(command: str) -> Verdict:
    return Verdict(NEEDS_YOU, command)


def failed_if(problems: list[str], otherwise: str = "") -> Verdict:
    """Fail and show the first three problems, with a count of the rest; pass with ``otherwise`` when there are none."""
    if not problems:
        return passed(otherwise)
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return failed("; ".join(problems[:3]) + more)
