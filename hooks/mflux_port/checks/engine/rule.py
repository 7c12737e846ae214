"""What a rule is: one row of the checklist, and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mflux_port.checks.engine.package import Package

PASS, FAIL, NOT_APPLICABLE, NEEDS_YOU = "pass", "fail", "not applicable", "needs you"

# When a rule is asked: always, with --merge (before the pull request), with --run (it executes something).
ALWAYS, MERGE, RUN = "always", "merge", "run"


class Verdict(NamedTuple):
    """A rule's answer: one of the four states, and what was seen (or the command for a person to run)."""

    state: str
    detail: str = ""


class Rule(NamedTuple):
    """One row. ``title`` is what must hold, ``fix`` what to do when it does not, ``why`` where it went wrong before.

    ``looks_at`` names the files. ``<model>``, ``<cli>``, ``<key>`` and ``<template>`` in the texts
    stand for the port's names and for where its template lies.
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

    ``only`` gives the reason why the row does not apply to a port, or None when it does.
    """

    def register(answer: Callable[[Package], Verdict]) -> Callable[[Package], Verdict]:
        if id in RULES:
            raise ValueError(f"two rules are called {id}")

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


def none_of(problems: list[str], otherwise: str = "") -> Verdict:
    """Fail with the problems, first three written out; pass when there are none."""
    if not problems:
        return passed(otherwise)
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return failed("; ".join(problems[:3]) + more)
