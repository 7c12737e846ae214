"""The two ways to update the port of nova, and their results without an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.faults.runs import Outcome, copier, mflux_port, run
from tests.faults.tree import State, Tree
from tests.update.template_versions import git

_OPTIONS = ("--trust", "--defaults", "--quiet", "-a", "porting/nova/answers.yml")
ACTS = {
    "update": mflux_port("update", "nova"),
    "copier update": copier("update", *_OPTIONS),
    "unwire": mflux_port("unwire", "nova"),
}


class Reference(NamedTuple):
    """The states after each sequence of runs, and the runs by name."""

    states: dict[tuple[str, ...], State]
    runs: dict[str, Outcome]


def refer(root: Path) -> Reference:
    """Run everything in a separate checkout."""
    tree, states, runs = Tree(root), {}, {}
    states[()] = tree.state()
    for name in ("unwire", "copier update", "update"):
        runs[name] = run(ACTS[name], root)
        assert runs[name].status == 0, runs[name].err
        states[(name,)] = tree.state()
        if name != "update":
            give_back(root)
    assert states[("update",)] == states[("copier update",)]
    assert run(ACTS["unwire"], root).status == 0
    states[("update", "unwire")] = states[("copier update", "unwire")] = tree.state()
    return Reference(states, runs)


def give_back(root: Path, head: str = "HEAD") -> None:
    """The tree as git knows it. An update writes nothing that git ignores."""
    git(root, "reset", "--hard", "--quiet", head)
    git(root, "clean", "-d", "--force", "--quiet")
