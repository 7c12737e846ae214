"""The result of a drafted forward pass."""

from __future__ import annotations

from dataclasses import dataclass

VERIFIED = "verified"  # its replay gives the reference's results
DIFFERS = "differs"  # its replay gives other results
RAISES = (
    "raises"  # its replay stops: at a construct that the writer does not support, or because of a bug in the writer
)
BLOCKED = "blocked"  # it cannot be replayed before another class is written
NOT_RECORDED = "not recorded"  # no recorded run reached it


@dataclass(frozen=True)
class State:
    """``error``: the largest difference over the largest value; ``limit``: its upper bound; ``where``: file:line of the
    reference; ``source``: the text there; ``reason``: one line."""

    kind: str
    error: float | None = None
    limit: float | None = None
    where: str = ""
    source: str = ""
    reason: str = ""
    calls: int = 0

    @property
    def is_proof(self) -> bool:
        return self.kind == VERIFIED

    @property
    def line(self) -> str:
        """The state as one line for people."""
        if self.kind == VERIFIED:
            return f"verified: error {self.error:.1e}, limit {self.limit:.1e}, {self.calls} calls"
        told = f"{self.kind}: {self.reason}" if self.reason else self.kind
        return f"{told} ({self.where}: {self.source})" if self.source else f"{told} ({self.where})"


def class_states(tree, draft) -> list[tuple[str, str, State]]:
    """(path, reference class, state) of the first module of each group of a tree that has its own forward passes."""
    found: dict[str, tuple[str, str, State]] = {}
    for path, node in tree.walk():
        if not draft.forwards or node.kind != "module":
            continue
        missing = State(NOT_RECORDED, where=node.file, reason="no module of this build ran in the tiny twin")
        state = node.forward.state if node.forward is not None else missing
        found.setdefault(node.group or path, (path or "the model", node.class_name, state))
    return list(found.values())
