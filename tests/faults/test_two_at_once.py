"""Two runs in one checkout: one is refused in one line, or waits; the result is that of two runs in sequence."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.kills import SEED, assert_settled
from tests.faults.runs import Outcome, Run, copier, mflux_port, run
from tests.faults.tree import State, Tree, different
from tests.faults.updates import ACTS, give_back

_DRAFT = ("draft", "nova", "--component", "transformer", "--checkpoint")
_BUSY = ("another mflux-port run is active in", "an update of nova (process ", "Destination repository is dirty")
Act = Callable[[], int]
# Moments of a run that writes, by the file that it is about to access.
BEFORE_THE_LOCK = {"on": "/run.lock", "at": 0}
WRITES_BEGIN = {"on": "/intent.json", "at": 0}
IS_REPLACING = {"on": "/intent.json", "at": 1}  # renaming it makes it the journal
WRITES_END = {"on": "/journal.json", "at": 0}
HOLDING = (WRITES_BEGIN, IS_REPLACING, WRITES_END)


class Order(NamedTuple):
    """The states after one run, and after both in either order."""

    first: State
    second: State
    both: State
    reverse: State


@pytest.fixture
def two(tree) -> Tree:
    """The checkout with the answers of a second port; neither port is wired."""
    answers = (tree.root / "porting/nova/answers.yml").read_text()
    (tree.root / "porting/amber").mkdir()
    (tree.root / "porting/amber/answers.yml").write_text(answers.replace("nova", "amber").replace("Nova", "Amber"))
    assert run(mflux_port("unwire", "nova"), tree.root).status == 0
    return tree


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("wire", "amber"), ("wire", "nova")),
        pytest.param(("wire", "nova"), ("wire", "nova"), marks=pytest.mark.full),
        pytest.param(("wire", "nova"), ("unwire", "nova"), marks=pytest.mark.full),
        pytest.param(("wire", "amber"), ("unwire", "nova"), marks=pytest.mark.full),
    ],
)
def test_two_wirings(first, second, two):
    if second == ("unwire", "nova") and first[1] == "amber":
        assert run(mflux_port("wire", "nova"), two.root).status == 0
    overlapping(two, mflux_port(*first), mflux_port(*second))


@pytest.mark.full
def test_two_drafts(tree, checkpoint):
    assert run(mflux_port(*_DRAFT, checkpoint(64)), tree.root).status == 0
    overlapping(tree, mflux_port(*_DRAFT, checkpoint(96)), mflux_port(*_DRAFT, checkpoint(32)))


@pytest.mark.full
def test_finish_and_wire(tree):
    assert run(mflux_port("unwire", "nova"), tree.root).status == 0
    wire, finish = mflux_port("wire", "nova"), mflux_port("finish", "nova")
    overlapping(tree, wire, mflux_port("draft", "nova", "--dry-run", "--checkpoint", "nowhere"))
    assert run(wire, tree.root).status == 0
    overlapping(tree, finish, wire)
    overlapping(tree, finish, mflux_port("unwire", "nova"))


@pytest.mark.full
@pytest.mark.parametrize("first", ACTS)
@pytest.mark.parametrize("second", ["update", "copier update", "unwire"])
def test_two_updates(first, second, behind_tree, reference):
    if first == second == "unwire":
        return  # ``test_two_wirings`` tests that
    states = reference.states
    # An update after another has nothing to do, and one after an unwire refuses the tree.
    both, reverse = states.get((first, second), states[(first,)]), states.get((second, first), states[(second,)])
    order = Order(states[(first,)], states[(second,)], both, reverse)
    touches = reference.runs[first].counted
    rng = random.Random(f"{SEED} {first} {second}")
    for at in (rng.randrange(touches // 2), rng.randrange(touches * 2 // 3, touches))[first == second :]:
        late = at > touches // 2
        assert _beside(behind_tree, ACTS[first], ACTS[second], {"at": at}, order) or not late
        give_back(behind_tree.root)


def overlapping(tree: Tree, first: Act, second: Act) -> None:
    """Stop ``first`` at certain moments, run ``second``, and let ``first`` continue."""
    start = tree.state()
    order = _order(tree, first, second)
    for moment in (BEFORE_THE_LOCK, *HOLDING):
        assert _beside(tree, first, second, moment, order) == (moment in HOLDING), moment
        tree.reset(start)


def _order(tree: Tree, first: Act, second: Act) -> Order:
    start = tree.state()
    states = []
    for one, other in ((first, second), (second, first)):
        run(one, tree.root)
        states.append(tree.state())
        run(other, tree.root)
        states.append(tree.state())
        tree.reset(start)
    only_first, both, only_second, reverse = states
    return Order(only_first, only_second, both, reverse)


def _beside(tree: Tree, first: Act, second: Act, moment: dict, order: Order) -> bool:
    """Whether ``second`` was refused."""
    paused = Run(first, tree.root, how="pause", **moment)
    assert paused.reaches_its_pause()
    beside = run(second, tree.root)
    paused.go_on()
    outcome = paused.end()
    assert "Traceback" not in outcome.err + beside.err, outcome.err + beside.err
    refused = [one for one in (outcome, beside) if one.status != 0 and any(words in one.err for words in _BUSY)]
    for one in refused:
        assert len([line for line in one.err.splitlines() if any(words in line for words in _BUSY)]) == 1, one.err
    now = tree.state()
    if beside in refused:
        assert now == order.first, f"{moment}: {different(now, order.first)}"
        run(second, tree.root)
        assert tree.state() == order.both
    else:
        wanted = (order.second,) if outcome.status else (order.both, order.reverse)
        assert now in wanted, f"{moment}: {different(now, wanted[0])}; {outcome.err} {beside.err}"
    assert_settled(tree.root, f"two at once, {moment}")
    return beside in refused


def test_check_during_wire(two):
    wire, check = mflux_port("wire", "nova"), mflux_port("check", "nova", "--json")
    before = run(check, two.root)
    start = two.state()
    assert run(wire, two.root).status == 0
    after = run(check, two.root)
    assert json.loads(before.out) != json.loads(after.out)
    two.reset(start)
    for moment in HOLDING:
        paused = Run(wire, two.root, how="pause", **moment)
        assert paused.reaches_its_pause()
        beside = run(check, two.root)
        paused.go_on()
        assert paused.end().status == 0
        assert beside.status == 2 and beside.out == "" and beside.err.count("\n") == 1 and _BUSY[0] in beside.err
        assert run(check, two.root).out == after.out
        two.reset(start)


def test_wire_during_check(two):
    paused = Run(mflux_port("check", "nova", "--merge"), two.root, at=1, how="pause")
    assert paused.reaches_its_pause()
    beside = run(mflux_port("wire", "nova"), two.root)
    also = run(mflux_port("check", "amber"), two.root)
    paused.go_on()
    assert paused.end().status == 1
    assert beside.status == 2 and _BUSY[0] in beside.err
    assert also.status == 1, "readers do not exclude each other"


def test_readers_report_a_killed_run(two):
    assert run(mflux_port("wire", "nova"), two.root, on="/.README.md.mflux-port", at=2).killed  # renaming it
    for command in ("check", "status"):
        outcome = run(mflux_port(command, "nova"), two.root)
        assert outcome.status == 2 and "did not write all of its files; run that command again first" in outcome.err
    assert run(mflux_port("wire", "nova"), two.root).status == 0
    assert run(mflux_port("status", "nova"), two.root).status == 0


@pytest.mark.full
def test_copies_wait_for_each_other(pristine, small_template, tmp_path):
    tree = Tree(shutil.copytree(pristine(), tmp_path / "mflux"))
    start = tree.state()
    acts = [_copy(small_template.home, model) for model in ("nova", "vega")]
    counted = run(acts[0], tree.root).counted
    assert run(acts[1], tree.root).status == 0
    both = tree.state()
    for at in (counted // 2, counted - 10):  # while it renders, and while it wires
        tree.reset(start)
        first = Run(acts[0], tree.root, at=at, how="pause")
        assert first.reaches_its_pause()
        second = Run(acts[1], tree.root)
        first.go_on()
        for outcome in (first.end(), second.end()):
            assert outcome.status == 0, outcome.err
        assert _sorted_lines(tree, both), different(tree.state(), both)
        assert_settled(tree.root, "two copies")


@pytest.mark.full
def test_the_same_copy_twice(pristine, small_template, tmp_path):
    tree = Tree(shutil.copytree(pristine(), tmp_path / "mflux"))
    start, act = tree.state(), _copy(small_template.home, "nova")
    counted = run(act, tree.root).counted
    once = tree.state()
    tree.reset(start)
    paused = Run(act, tree.root, at=counted // 2, how="pause")
    assert paused.reaches_its_pause()
    beside = run(act, tree.root)
    paused.go_on()
    assert paused.end().status == 0 and beside.status == 0
    assert tree.state() == once


def _copy(template: Path, model: str) -> Act:
    options = ["--trust", "--defaults", "--overwrite", "--quiet", "--vcs-ref", "v0.1.0", "-d", f"model={model}"]
    return copier("copy", *options, "-d", f"hf_repo=acme/{model.title()}", str(template), ".")


def _sorted_lines(tree: Tree, state: State) -> bool:
    # The port that was wired first comes first in the shared files; apart from that, the files are the same.
    now = tree.state()
    names = [name for name in different(now, state) if not name.endswith(("README.md", "CHANGELOG.md"))]
    return now.keys() == state.keys() and not [name for name in names if "/nova/" in name or "/vega/" in name]


@pytest.mark.full
def test_both_without_stops(two):
    """Without stops, in any order."""
    start = two.state()
    acts = {"amber": mflux_port("wire", "amber"), "nova": mflux_port("wire", "nova")}
    alone, both = {}, []
    for name, act in acts.items():
        assert run(act, two.root).status == 0
        alone[name] = two.state()
        assert run(acts["nova" if name == "amber" else "amber"], two.root).status == 0
        both.append(two.state())
        two.reset(start)
    for _ in range(20):
        outcomes: dict[str, Outcome] = {name: started.end() for name, started in _both(acts, two.root).items()}
        done = [name for name, outcome in outcomes.items() if outcome.status == 0]
        assert done and all(outcome.status in (0, 2) for outcome in outcomes.values())
        assert two.state() in (both if len(done) == 2 else [alone[done[0]]])
        two.reset(start)


def _both(acts: dict[str, Act], root: Path) -> dict[str, Run]:
    return {name: Run(act, root) for name, act in acts.items()}
