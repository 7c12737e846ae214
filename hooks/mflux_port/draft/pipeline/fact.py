"""One thing that a pipeline does between its networks, and where it was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """``value`` is plain data (text, numbers, lists, mappings); None when nothing that was tried explains the run.

    ``where`` names the run, config or signature that it was read from. ``alternatives`` are other values that fit the
    same runs equally well, or what was tried and failed.
    """

    name: str
    value: object
    where: str
    alternatives: tuple = ()

    @property
    def is_decided(self) -> bool:
        return self.value is not None and not self.alternatives

    def as_dict(self) -> dict:
        """The fact as written to ``pipeline_facts.yml``."""
        entry = {"value": self.value, "where": self.where}
        return entry | ({"alternatives": list(self.alternatives)} if self.alternatives else {})
