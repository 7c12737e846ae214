"""One next action: what to change, what to type, and why."""

from __future__ import annotations

import shlex
from typing import NamedTuple


class Action(NamedTuple):
    """``command`` is what to type.

    ``edit`` is the file or folder to change before that, empty when nothing has to be changed.
    """

    command: str
    reason: str
    edit: str = ""

    def lines(self) -> list[str]:
        """Two lines for the terminal."""
        first = f"edit {self.edit}, then: " if self.edit else ""
        return [f"  next: {first}{self.command}", f"  why:  {self.reason}"]


def commit(message: str, reason: str) -> Action:
    """The action that commits everything."""
    return Action(f"git add --all && git commit --message {shlex.quote(message)}", reason)
