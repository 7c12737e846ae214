"""The rules run on the ports that mflux has merged: none raises an error, and names are read from
the checkout alone.
"""

from __future__ import annotations

import re

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import all_rules, rules_when
from mflux_port.checks.engine.rule import ALWAYS, FAIL, MERGE, PASS, RUN
from mflux_port.checks.engine.run_rules import ask, check

STATES = {"pass", "fail", "not applicable", "needs you"}


@pytest.fixture(scope="module", params=["0.24.0", "0.18.1"])
def rows(request, pristine):
    return check(Checkout(pristine(request.param)), [], {MERGE})


def test_every_rule_has_a_result_for_every_port(rows):
    assert {row.state for row in rows} <= STATES
    assert {"flux2", "ernie_image", "krea2", "z_image"} <= {row.model for row in rows}
    assert all(row.detail for row in rows if row.state != PASS)
    texts = (text for row in rows for text in (row.title, row.detail, row.looks_at, row.fix))
    assert [text for text in texts if re.search("<model>|<cli>|<key>|cannot read what it found", text)] == []


def test_canonical_ports_pass_the_wiring_rules(rows):
    wiring = [row for row in rows if row.rule[:3] in ("REG", "TAB") and row.model == "krea2"]
    assert len(wiring) > 20
    known = {"TAB01"}  # krea-2-raw has no steps in 0.24.0: mflux's own test lists it as NO_DECLARED_STEPS
    assert {row.rule for row in wiring if row.state == FAIL} <= known


# Gaps that a person found by reading the releases; the rules must find them too.
KNOWN_GAPS = {
    "0.24.0": [
        ("ernie_image", "TRN07"),
        ("krea2", "TRN07"),
        ("ernie_image", "FEA13"),
        ("krea2", "TRN11"),
        ("flux2", "FEA12"),
        ("boogu", "CLI03"),
        ("lens", "LAY02"),
        ("ideogram4", "LAY13"),
        ("ideogram4", "WGT05"),
        ("qwen21", "FEA17"),
        ("flux2", "STY09"),
    ],
    "0.18.1": [
        ("krea2", "CLI06"),
        ("ideogram4", "TAB03"),
        ("ernie_image", "TAB05"),
        ("flux2", "FEA06"),
        ("seedvr2", "REG12"),
    ],
}
# An early version of the rule wrongly failed on these.
KNOWN_GOOD = {
    "0.24.0": [
        ("flux2", "FEA04"),
        ("flux2", "WGT06"),
        ("qwen21", "FEA06"),
        ("z_image", "TRN07"),
        ("moss_image", "CLI04"),
        ("fibo", "CLI13"),
        ("qwen21", "CLI03"),
        ("qwen21", "WGT05"),
        ("qwen21", "WGT11"),
        ("lens", "WGT11"),
        ("anima", "LOR03"),
        ("anima", "LOR05"),
        ("seedvr2", "FEA02"),
    ],
    "0.18.1": [("krea2", "TAB03"), ("flux2", "TRN01")],
}


@pytest.mark.parametrize("release", KNOWN_GAPS)
def test_known_gaps_are_found_and_correct_ports_pass(pristine, release):
    facts = Facts(Checkout(pristine(release)))
    for model, rule in KNOWN_GAPS[release]:
        assert ask(all_rules()[rule], Package(facts, model)).state == FAIL, (model, rule)
    for model, rule in KNOWN_GOOD[release]:
        assert ask(all_rules()[rule], Package(facts, model)).state == PASS, (model, rule)


def test_a_plain_check_runs_no_rule_for_the_pull_request():
    assert {rule.when for rule in rules_when()} == {ALWAYS}
    assert {rule.when for rule in rules_when(MERGE)} == {ALWAYS, MERGE}
    ids = [rule.id for rule in rules_when(MERGE, RUN)]
    assert ids[0] == "LAY01" and ids[-1] == "RUN04" and ids.index("STY09") < ids.index("MRG01")
