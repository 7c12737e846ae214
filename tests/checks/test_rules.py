"""Each rule passes on the complete port and fails when one thing is broken."""

from __future__ import annotations

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.evaluate import Row, ask, check, failures
from mflux_port.checks.engine.facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import all_rules
from mflux_port.checks.engine.rule import FAIL, MERGE, NEEDS_YOU, PASS

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
    return ask(all_rules()[rule], Package(Facts(Checkout(root)), model))


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


def test_every_rule_has_an_example():
    assert sorted(all_rules()) == sorted([*BREAKS, *PEOPLE, *EXECUTING])
    assert len(all_rules()) >= 60


def test_every_rule_says_all_that_it_must():
    for rule in all_rules().values():
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
