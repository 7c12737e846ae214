"""Run the rules on ports."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import NamedTuple

from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts, Unreadable
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import rules_when
from mflux_port.checks.engine.rule import FAIL, RUN, Rule, Verdict, failed
from mflux_port.errors import PortError, short_repr
from mflux_port.template.project import address

_PATH = re.compile(r"([\w.-][\w./-]*\w)(?: line (\d+))?")


class Row(NamedTuple):
    """A rule's result for one model, with its placeholders filled in.

    ``file`` is the first existing file that the detail or else ``looks_at`` names; empty when there is none.
    ``line`` counts from 1; it is 0 when no line is named.
    """

    model: str
    rule: str
    title: str
    state: str
    detail: str
    looks_at: str
    fix: str
    file: str
    line: int

    def as_json(self) -> dict:
        return self._asdict()


def find_package(facts: Facts, model: str) -> Package:
    """The package ``model``. Raises PortError, with the names of all ports, when the checkout has no such package."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", model):
        raise PortError(f"{short_repr(model)} is not a package name; use the name of a folder of src/mflux/models")
    if (facts.root / "src/mflux/models" / model).is_dir() or facts.exists(f"porting/{model}"):
        return Package(facts, model)
    known = ", ".join(all_models(facts))
    raise PortError(f"src/mflux/models/{model} does not exist; name one of {known}")


def check(checkout: Checkout, models: list[str], also: set[str] = frozenset()) -> list[Row]:
    """Run every rule on ``models``, or on all models when the list is empty; ``also`` adds the
    kinds "merge" and "run".
    """
    facts = Facts(checkout)
    rules = rules_when(*also)
    packages = [find_package(facts, model) for model in models or all_models(facts)]
    ported = next((package.port for package in packages if package.port), None)
    if RUN in also and ported:
        from mflux_port.checks.engine.environment import verify_environment

        verify_environment(facts, ported)
    return [ask(rule, package) for package in packages for rule in rules]


def all_models(facts: Facts) -> list[str]:
    """Every model of the checkout. Raises PortError when pyproject.toml cannot be read."""
    try:
        return facts.models
    except Unreadable as error:
        raise PortError(f"{error}; fix it and run this again") from None


def ask(rule: Rule, package: Package) -> Row:
    """Run one rule on one model. A missing or broken file gives a failed row, and so does an error inside the rule."""
    try:
        verdict = rule.answer(package)
    except (Unreadable, PortError) as error:
        verdict = failed(str(error))
    except Exception as error:  # noqa: BLE001 - one broken rule must not hide the other rows
        verdict = failed(f"{rule.id} cannot read what it found ({type(error).__name__}: {error})")
    return _row(rule, package, verdict)


def failures(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.state == FAIL]


def _row(rule: Rule, package: Package, verdict: Verdict) -> Row:
    names = _names(package)
    texts = (rule.title, verdict.detail, rule.looks_at, rule.fix)
    title, detail, looks_at, fix = (_fill(text, names) for text in texts)
    file, line = _place(package.facts, f"{detail} {looks_at}")
    return Row(package.model, rule.id, title, verdict.state, detail, looks_at, fix, file, line)


def _place(facts: Facts, text: str) -> tuple[str, int]:
    """The first file of the checkout that a text names, and the line number after it."""
    for found in _PATH.finditer(text):
        if os.path.isfile(f"{facts.root}/{found[1]}"):
            return found[1], int(found[2] or 0)
    return "", 0


@lru_cache(maxsize=1)  # a package's rules all run before the next package's
def _names(package: Package) -> dict[str, str]:
    port = package.port
    try:
        command, keys = next(iter(package.generating), f"mflux-generate-{package.model}"), package.keys
    except Unreadable:
        command, keys = f"mflux-generate-{package.model}", []
    return {
        "<model>": package.model,
        "<cli>": command.removeprefix("mflux-generate-"),
        "<key>": keys[0] if keys else package.model,
        "<template>": port and address(port.template, port.template_commit) or "<template>",
    }


def _fill(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text
