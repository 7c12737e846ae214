"""The failing examples of the rules: each breaks one thing in the complete port, on which every rule passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.checks.tree import Tree

Step = Callable[[Tree], object]


class Break(NamedTuple):
    """``step`` breaks what ``rule`` checks. ``before`` makes a rule apply that does not apply to the complete port."""

    rule: str
    step: Step
    what: str = ""
    before: Step = lambda tree: None


def todo(tree: Tree) -> None:
    """A placeholder for a step until someone writes it: see `docs/make.py new-rule`."""
    raise AssertionError("replace `todo` with a step that makes the rule fail")


def replace(name: str, old: str, new: str = "") -> Step:
    return lambda tree: tree.replace(name, old, new)


def remove(*names: str) -> Step:
    return lambda tree: [tree.remove(name) for name in names]


def write(name: str, text: str) -> Step:
    return lambda tree: tree.write(name, text)


def append(name: str, text: str) -> Step:
    return lambda tree: tree.append(name, text)


def both(*steps: Step) -> Step:
    return lambda tree: [step(tree) for step in steps]


def move(old: str, new: str) -> Step:
    def step(tree: Tree) -> None:
        tree.write(new, (tree.root / old).read_text())
        tree.remove(old)

    return step
