"""Each rule passes on the complete port and fails when one thing is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mflux_port import checks
from mflux_port.checkout import Checkout
from mflux_port.checks.catalogue import RULES
from mflux_port.checks.evaluate import Row, ask, check, failures
from mflux_port.checks.facts import Facts
from mflux_port.checks.package import Package
from mflux_port.checks.rule import ALWAYS, FAIL, MERGE, NEEDS_YOU, PASS

from tests.checks import breaks_package, breaks_repo
from tests.checks.breaks_again import AGAIN
from tests.checks.complete_port import MODEL

BREAKS = {**breaks_package.BREAKS, **breaks_repo.BREAKS}
BEFORE = {**breaks_package.BEFORE, **breaks_repo.BEFORE}
# What only a person can judge: there is nothing to break.
PEOPLE = ("WGT10", "LOR10", "TST06", "TST15", "DOC21", "MRG12", "MRG13", "MRG14", "MRG15", "MRG17", "MRG18")
# Asked in an environment that runs mflux: test_executing.py.
EXECUTING = ("RUN02", "RUN03", "RUN04")


def answer(root, rule: str, model: str = MODEL) -> Row:
    return ask(RULES[rule], Package(Facts(Checkout(root)), model))


@pytest.mark.parametrize("rule", BREAKS)
def test_rule_passes_and_fails(tree, rule):
    BEFORE.get(rule, lambda tree: None)(tree)
    whole = answer(tree.root, rule)
    assert whole.state == PASS, whole.detail
    BREAKS[rule](tree)
    broken = answer(tree.root, rule)
    assert broken.state == FAIL and broken.detail and broken.fix


@pytest.mark.parametrize(("rule", "broken", "step"), AGAIN, ids=[f"{rule}: {broken}" for rule, broken, _ in AGAIN])
def test_rule_sees_this_too(tree, rule, broken, step):
    assert answer(tree.root, rule).state == PASS
    step(tree)
    assert answer(tree.root, rule).state == FAIL


def test_an_edited_surface_needs_a_look(tree):
    tree.replace(breaks_repo.CONFIG, 'aliases=["nova-turbo", "nova"]', 'aliases=["nova-turbo"]')
    row = answer(tree.root, "TAB09")
    assert row.state == NEEDS_YOU and "model_config" in row.detail


@pytest.mark.parametrize("rule", PEOPLE)
def test_rule_for_people_gives_a_command(completed, rule):
    row = answer(completed, rule)
    assert row.state == NEEDS_YOU and row.detail
    assert "<model>" not in row.detail + row.fix + row.looks_at


def test_the_end_of_a_copy_knows_every_rule_that_is_always_asked():
    script = "from mflux_port.checks import RULES; print(*sorted(RULES))"
    environment = {**os.environ, "PYTHONPATH": str(Path(checks.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert {name for name, rule in RULES.items() if rule.when == ALWAYS} <= set(done.stdout.split())


def test_every_rule_has_an_example():
    assert sorted(RULES) == sorted([*BREAKS, *PEOPLE, *EXECUTING])
    assert len(RULES) >= 60


def test_every_rule_says_all_that_it_must():
    for rule in RULES.values():
        assert rule.title and rule.looks_at and rule.fix and rule.why, rule.id
        assert "\n" not in rule.title, rule.id


def test_complete_port_has_no_failing_row(completed):
    assert failures(check(Checkout(completed), [MODEL], {MERGE})) == []


def test_fresh_port_fails_only_before_the_pull_request(rendered):
    assert failures(check(Checkout(rendered), [MODEL])) == []
    rows = failures(check(Checkout(rendered), [MODEL], {MERGE}))
    assert {"MRG01", "MRG06", "DOC10", "TST04"} <= {row.rule for row in rows}


def test_broken_file_is_a_row_and_not_an_error(tree):
    tree.write(breaks_package.CLI, "def main(:\n")
    rows = failures(check(Checkout(tree.root), [MODEL], {MERGE}))
    assert any("is no valid Python" in row.detail for row in rows)
