"""Each rule passes on the complete port and fails when one thing in it is broken."""

from __future__ import annotations

import inspect
import sys

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import GROUPS, all_rules
from mflux_port.checks.engine.rule import FAIL, MERGE, NEEDS_YOU, PASS
from mflux_port.checks.engine.run_rules import Row, ask, check, failures

from tests.checks.breaking import Break, todo
from tests.checks.breaks import all_breaks
from tests.checks.complete_port import MODEL
from tests.checks.paths import CLI, CONFIG

BREAKS = all_breaks()
# Only a person can judge these, so no change of a file makes them fail.
PEOPLE = ("WGT10", "LOR10", "TST06", "TST15", "DOC21", "MRG12", "MRG13", "MRG14", "MRG15", "MRG17", "MRG18")
# These need an environment that runs mflux: test_check_run.py.
EXECUTING = ("RUN02", "RUN03", "RUN04")


def answer(root, rule: str, model: str = MODEL) -> Row:
    return ask(all_rules()[rule], Package(Facts(Checkout(root)), model))


@pytest.mark.parametrize("one", BREAKS, ids=[f"{one.rule}: {one.what}".rstrip(": ") for one in BREAKS])
def test_rule_passes_and_fails(tree, one: Break):
    one.before(tree)
    whole = answer(tree.root, one.rule)
    assert whole.state == PASS, whole.detail
    one.step(tree)
    broken = answer(tree.root, one.rule)
    assert broken.state == FAIL and broken.detail and broken.fix


def test_edited_surface_is_left_to_a_person(tree):
    tree.replace(CONFIG, 'aliases=["nova-turbo", "nova"]', 'aliases=["nova-turbo"]')
    row = answer(tree.root, "TAB09")
    assert row.state == NEEDS_YOU and "model_config" in row.detail


@pytest.mark.parametrize("rule", PEOPLE)
def test_rule_for_people_gives_a_command(completed, rule):
    row = answer(completed, rule)
    assert row.state == NEEDS_YOU and row.detail
    assert "<model>" not in row.detail + row.fix + row.looks_at


def test_an_unresolved_list_fails(tree):
    tree.write(f"porting/{MODEL}/unresolved.yml", "[]\n")
    row = answer(tree.root, "WGT10")
    assert row.state == FAIL and "unresolved.yml" in row.detail


def test_every_rule_has_an_example():
    examples = {one.rule for one in BREAKS}
    assert sorted(all_rules()) == sorted([*examples, *PEOPLE, *EXECUTING])
    open_ = [one.rule for one in BREAKS if one.step is todo]
    assert not open_, f"tests/checks/breaks/: replace `todo` with a step that makes {', '.join(open_)} fail"


def test_every_rule_is_written():
    for rule in all_rules().values():
        texts = (rule.title, rule.looks_at, rule.fix, rule.why, rule.answer.__name__)
        assert all(texts) and "\n" not in rule.title, rule.id
        assert not any(text.lower().startswith("todo") for text in texts), f"{rule.id} still has a TODO: {texts}"


def test_rule_id_is_in_its_module():
    for rule in all_rules().values():
        module = sys.modules[rule.answer.__module__]
        assert module.__name__ == f"mflux_port.checks.rules.{GROUPS[rule.id[:3]]}"
        assert inspect.getsource(rule.answer).count(f'"{rule.id}"') == 1
        assert inspect.getsource(module).count(f'"{rule.id}"') == 1


def test_complete_port_has_no_failing_row(completed):
    assert failures(check(Checkout(completed), [MODEL], {MERGE})) == []


def test_fresh_port_fails_only_before_the_pull_request(rendered):
    assert failures(check(Checkout(rendered), [MODEL])) == []
    rows = failures(check(Checkout(rendered), [MODEL], {MERGE}))
    assert {"MRG01", "MRG06", "DOC10", "TST04"} <= {row.rule for row in rows}


def test_broken_file_fails_a_row_without_an_error(tree):
    tree.write(CLI, "def main(:\n")
    rows = failures(check(Checkout(tree.root), [MODEL], {MERGE}))
    assert any("is not valid Python" in row.detail for row in rows)
