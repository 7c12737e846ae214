"""Rows as text for the terminal, in full or as a summary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.rule import FAIL, NEEDS_YOU, Rule
from mflux_port.checks.engine.run_rules import Row, check
from mflux_port.errors import PortError

_STATES = ("pass", "fail", "needs you", "not applicable")


def lines(rows: list[Row], everything: bool = False) -> list[str]:
    """Per model: each failing row with its fix, each manual row with its command, and the counts."""
    out: list[str] = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        for row in own:
            if everything or row.state in (FAIL, NEEDS_YOU):
                out += _lines_of(row)
        out += [f"{model}: {counts(own)}"]
    return out


def counts(rows: list[Row]) -> str:
    """``12 pass, 1 fail, …``"""
    found = Counter(row.state for row in rows)
    return ", ".join(f"{found[state]} {state}" for state in _STATES if found[state])


def short(rows: list[Row], model: str, most: int = 3) -> list[str]:
    """A summary for the end of a copy or an update: the counts and the first failing rows."""
    out = [f"check: {counts(rows)}"]
    failed = [row for row in rows if row.state == FAIL]
    out += [f"  {row.rule} {row.title}: {row.fix}" for row in failed[:most]]
    if len(failed) > most:
        out.append(f"  … and {len(failed) - most} more: mflux-port check {model}")
    return out


def what_is_left(root: Path, model: str) -> list[str]:
    """The summary of one port, which another command prints at its end; an error becomes a line of it."""
    try:
        return short(check(Checkout(root), [model]), model)
    except PortError as error:
        return [f"check: {error}"]


def explanation(rule: Rule) -> list[str]:
    """Everything about a rule."""
    runs = {"always": "always", "merge": "with --merge", "run": "with --run"}[rule.when]
    return [
        f"{rule.id}  {rule.title}",
        f"  looks at  {rule.looks_at}",
        f"  fix       {rule.fix}",
        f"  why       {rule.why}",
        f"  runs      {runs}",
    ]


def _lines_of(row: Row) -> list[str]:
    detail = f": {row.detail}" if row.detail else ""
    if row.state == FAIL:
        return [f"FAIL  {row.rule}  {row.title}", f"      found  {row.detail}", f"      fix    {row.fix}"]
    if row.state == NEEDS_YOU:
        return [f"YOU   {row.rule}  {row.title}", f"      run    {row.detail}"]
    mark = "ok" if row.state == "pass" else "--"
    return [f"{mark:<6}{row.rule}  {row.title}{detail}"]
