"""Replace attributes of classes and modules temporarily."""

from __future__ import annotations

from collections.abc import Callable


class Patches:
    """``set`` replaces an attribute, ``undo`` restores all of them, the last one first."""

    def __init__(self):
        self._undo: list[Callable[[], None]] = []

    def set(self, owner, name: str, value) -> None:
        """Set ``owner.name`` to ``value`` until ``undo``."""
        had, before = name in vars(owner), vars(owner).get(name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before) if had else delattr(owner, name))

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()
        self._undo.clear()
