"""``porting/<model>/ledger_waivers.yml``: what a ledger may leave open, each with a written reason.

transformer:
  tensors:       {logit_scale: only used in training}
  parameters:    {rope.*: computed, not loaded}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.yaml_files import read_yaml

WAIVERS = "porting/{model}/ledger_waivers.yml"


@dataclass
class Waivers:
    """Patterns with their reasons, for one component. ``used`` collects those that waived something.

    ``shapes``: parameters that may differ from their tensor in ones behind; only ``known`` facts of mflux's own have any.
    """

    tensors: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    known: Waivers | None = None
    used: set[str] = field(default_factory=set)

    def cover(self, side: str, name: str) -> bool:
        """Whether a pattern of ``side`` (``tensors``, ``parameters`` or ``shapes``) waives ``name``."""
        patterns = getattr(self, side)
        found = (
            name if name in patterns else next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)
        )
        if found is not None:
            self.used.add(found)
        return found is not None or self.known is not None and self.known.cover(side, name)

    @property
    def idle(self) -> list[str]:
        """Patterns that waived nothing."""
        return [pattern for pattern in (*self.tensors, *self.parameters) if pattern not in self.used]


def read_waivers(path: Path) -> dict[str, Waivers]:
    """The waivers of every component; none when the file is missing. Raises PortError for another form, or no reason."""
    if not path.is_file():
        return {}
    table = read_yaml(path, "fix it") or {}
    if not isinstance(table, dict):
        raise PortError(f"{path} must name components; write `transformer: {{tensors: {{name: reason}}}}`")
    return {str(name): _component(entry, f"{path}: {name}") for name, entry in table.items()}


def _component(entry: object, where: str) -> Waivers:
    sides = entry or {}
    if not isinstance(sides, dict) or not sides.keys() <= {"tensors", "parameters"}:
        raise PortError(f"{where} may have `tensors` and `parameters`, each a mapping of names to reasons")
    for side, patterns in sides.items():
        if not isinstance(patterns, dict):
            raise PortError(f"{where}, {side} must be a mapping of names to reasons")
        odd = next((name for name in patterns if not isinstance(name, str)), None)
        if odd is not None:
            raise PortError(f"{where}, {side}: {odd!r} is not a name; write it in quotes")
        bare = next((name for name, why in patterns.items() if not isinstance(why, str) or not why.strip()), None)
        if bare is not None:
            raise PortError(f"{where}, {side}: {bare} has no reason; write why it may stay open")
    return Waivers(dict(sides.get("tensors") or {}), dict(sides.get("parameters") or {}))
