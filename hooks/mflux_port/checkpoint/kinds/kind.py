"""One thing that is special about a checkpoint's file, as every command reports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """``names``: the tensors concerned; ``blocks``: whether they cannot be drafted or loaded as they are.

    ``id`` is the name that a waiver of the ledger may give as a tensor.
    """

    id: str
    what: str
    fix: str
    names: tuple[str, ...] = ()
    blocks: bool = True

    @property
    def count(self) -> str:
        """The number of tensors, with one as an example."""
        return self.names[0] if len(self.names) == 1 else f"{len(self.names)} tensors, such as {self.names[0]}"

    def __str__(self) -> str:
        return f"{self.what}{f' ({self.count})' if self.names else ''}; {self.fix}"
