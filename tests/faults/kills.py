"""Kill a command at random points. After that, one documented command must complete its work or undo all of it."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mflux_port.checkout.tree import state_dir

from tests.faults.runs import Outcome, Run, run
from tests.faults.tree import State, Tree, different

SEED = int(os.environ.get("FAULTS_SEED", "9"))
TIMES = int(os.environ.get("FAULTS_TIMES", "1"))  # multiplies the number of kills in CI
KILLED: Counter[str] = Counter()  # kills of this test run by command, for the summary
LEFT: Counter[str] = Counter()  # the states after the kills: before, after, or partial


@dataclass
class Command:
    """A command in a checkout. ``own`` tells whether the command may change a file.

    ``again`` is the documented command after a kill; the default is the same command. ``whole_files``: the command
    never leaves a part of a file. ``reset`` restores state that ``tree`` does not have.
    """

    name: str
    tree: Tree
    act: Callable[[], int]
    own: Callable[[str], bool]
    again: Callable[[], int] | None = None
    whole_files: bool = True
    count_writes: bool = True
    reset: Callable[[], object] = lambda: None
    before: State = field(default_factory=dict)
    after: State = field(default_factory=dict)
    touches: int = 0
    writes: int = 0
    seconds: float = 0

    @property
    def root(self) -> Path:
        return self.tree.root

    def measure(self) -> Command:
        """Run it without a fault to see what it changes, how often it accesses the disk and how long it takes."""
        self.before = self.tree.state()
        first = run(self.act, self.root)
        assert first.status == 0, first.err
        self.after, self.touches, self.seconds = self.tree.state(), first.counted, first.seconds
        changed = different(self.before, self.after)
        assert changed and all(map(self.own, changed)), changed
        self.give_back()
        if self.count_writes:
            second = run(self.act, self.root, where="write")
            self.writes = second.counted
            assert self.tree.state() == self.after, different(self.tree.state(), self.after)
            self.give_back()
        return self

    def give_back(self) -> None:
        """The checkout as it was before the command."""
        self.tree.reset(self.before)
        self.reset()
        assert self.tree.state() == self.before


def kill_often(command: Command, number: int, check: Callable[[Command, Outcome, str], None] | None = None) -> None:
    """Kill ``command`` until ``number`` runs were killed, at points that SEED gives; ``check`` each of them."""
    rng = random.Random(f"{SEED} {command.name}")
    killed = tries = 0
    while killed < number:
        tries += 1
        assert tries < 4 * number + 10, f"{command.name}: too few of the runs were killed"
        outcome, where = _kill(command, rng)
        where = f"seed {SEED}, {command.name} {where}; {outcome.hits}"
        killed += outcome.killed
        KILLED[command.name] += outcome.killed
        if outcome.killed or "one" in where:
            (check or recovers)(command, outcome, where)
        else:  # the killed process had ended already, or never reached the point
            assert outcome.status == 0 and command.tree.state() == command.after, where + outcome.err
        command.give_back()


def kill_half_done(command: Command, check: Callable[[Command, Outcome, str], None] | None = None) -> None:
    """Kill ``command`` when it has written a part of its files; a bisection over its disk accesses finds the time.

    A few random kills may all miss that time.
    """
    low, high = 0, command.touches
    while low < high:
        at = (low + high) // 2
        outcome = run(command.act, command.root, where="touch", at=at, how="kill")
        assert outcome.killed, f"{command.name} was not killed at touch {at}"
        left = _left(command)
        (check or recovers)(command, outcome, f"{command.name} kill at touch {at}")
        command.give_back()
        if left == "half":
            return
        low, high = (at + 1, high) if left == "before" else (low, at)
    raise AssertionError(f"no kill of {command.name} left a part of its files")


def recovers(command: Command, outcome: Outcome, where: str) -> None:
    """Check that the kill has damaged no other file, and that the documented command completes the work."""
    left = _look(command, where)
    again = run(command.again or command.act, command.root)
    assert again.status == 0 or again.status == 2 and left == "after", f"{where}\n{again.err}"
    assert "Traceback" not in again.err, again.err
    now = command.tree.state()
    assert now == command.after, f"{where} left {left}, then: {different(now, command.after)}"
    assert_settled(command.root, where)


def assert_settled(root: Path, where: str) -> None:
    """Check that no file is half-written. (A hidden file is an incomplete note, which the next one replaces.)"""
    there = {path.name for path in state_dir(root).glob("[!.]*")} - {"lock", "run.lock"}
    assert not there, f"{where} leaves {there}"


def without_temporary(state: State) -> State:
    """Without the temporary files of a killed run."""
    return {name: mark for name, mark in state.items() if not name.endswith((".mflux-port", ".mflux-port-old"))}


def _look(command: Command, where: str) -> str:
    now = without_temporary(command.tree.state())
    changed = different(command.before, now)
    assert [name for name in changed if not command.own(name)] == [], where
    if command.whole_files:
        parts = [name for name in changed if now.get(name) not in (command.before.get(name), command.after.get(name))]
        assert parts == [], f"{where} left parts of files"
    left = _left(command)
    LEFT[f"{command.name}: {left}"] += 1
    return left


def _left(command: Command) -> str:
    now = without_temporary(command.tree.state())
    return "before" if now == command.before else "after" if now == command.after else "half"


def _kill(command: Command, rng: random.Random) -> tuple[Outcome, str]:
    kind = rng.choice(("touch", "touch", "time", "write" if command.writes else "touch"))
    how = "kill one" if kind == "touch" and rng.random() < 0.3 else "kill"
    if kind == "time":
        seconds = rng.uniform(0, command.seconds)
        return Run(command.act, command.root).kill_after(seconds), f"after {seconds:.3f} s"
    at = rng.randrange(command.touches if kind == "touch" else command.writes)
    return run(command.act, command.root, where=kind, at=at, how=how), f"{how} at {kind} {at}"
