"""Sizes of drafted modules as expressions of the config: right at every size, or left as the checkpoint's number."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.draft.tree.sizes import FAR, LESS, NEAR, _expression

from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

FACTORS = (*NEAR, FAR, *LESS)


def views(formula, values: dict[str, int], factors=FACTORS) -> list:
    """The sizes of a reference that follows this formula, when one of its numbers changes."""
    found = []
    for name, value in values.items():
        whole = [factor for factor in factors if (value * factor).denominator == 1]
        shown = {factor: str(formula(**values | {name: int(value * factor)})) for factor in whole}
        found.append((name, value, shown))
    return found


@pytest.mark.parametrize(
    ("formula", "values", "written"),
    [
        (lambda a: 4 * a, {"a": 64}, "4 * a"),
        (lambda a, b: a // b, {"a": 64, "b": 4}, "a // b"),
        (lambda a, k, h: a // h * k, {"a": 64, "k": 2, "h": 4}, "a * k // h"),
        (lambda p, c: p * p * c, {"p": 2, "c": 16}, "p * p * c"),
        (lambda h, k, d: (h + 2 * k) * d, {"h": 8, "k": 2, "d": 16}, "h * d + 2 * k * d"),
        (lambda a: a + 1, {"a": 10}, "a + 1"),
        (lambda a: a - 1, {"a": 8}, "a - 1"),
        (lambda a, b: (2 * a - 1) * b, {"a": 8, "b": 16}, "2 * a * b - b"),
        (lambda a, b: 3 * a + b, {"a": 64, "b": 48}, "3 * a + b"),
        (lambda a: min(a, 256), {"a": 64}, "min(a, 256)"),
        (lambda a: min(a, 256), {"a": 3840}, "min(a, 256)"),
        (lambda a: min(2 * a, 96), {"a": 64}, "min(2 * a, 96)"),
        # These are left as numbers: another relation, or one that is not visible on both sides.
        (lambda a: max(a, 64), {"a": 64}, "64"),
        (lambda a: max(a, 16), {"a": 64}, "64"),
        (lambda a: min(a, 100_000), {"a": 3840}, "a"),  # far more than any real tree needs
        (lambda a: 256 * -(-8 * a // 3 // 256), {"a": 100}, "512"),
        (lambda a, b: min(a, b), {"a": 64, "b": 128}, "64"),
        (lambda a, b: min(a, 96) + b, {"a": 64, "b": 8}, "72"),
        (lambda a: a * a + a, {"a": 8}, "72"),
        (lambda a: 7, {"a": 8}, "7"),
        (lambda a, b: a // b, {"a": 8, "b": 8}, "1"),
        (lambda a, b: a // b, {"a": 12, "b": 8}, "1"),
    ],
)
def test_size_is_written_as_the_same_expression_in_every_tree(formula, values, written):
    assert _expression(str(formula(**values)), views(formula, values)) == written
    if written.isdigit():
        return
    others = {name: 3 * value for name, value in values.items()}
    assert eval(written, {"min": min}, dict(others)) == formula(**others)


def test_limit_is_not_inferred_from_three_trees():
    formula = lambda a: min(a, 100)  # noqa: E731
    assert _expression("64", views(formula, {"a": 64}, NEAR)) == "64"
    assert _expression("64", views(formula, {"a": 64}, (*NEAR, Fraction(1, 2)))) == "min(a, 100)"


def test_drafted_modules_fit_the_reference_at_other_sizes(diffusers_python, tmp_path):
    said = run_in(diffusers_python, HERE / "other_sizes.py", tmp_path, source=releases.source("0.24.0") / "src")
    found = json.loads(said.splitlines()[-1])
    assert len(found) == 9 and {case: names for case, names in found.items() if names} == {}
