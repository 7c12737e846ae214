"""The section ``ledger`` of ``porting/<model>/waivers.yml``: the findings that a ledger accepts, each with its reason.

ledger:
- {component: transformer, tensor: logit_scale, reason: only used in training}
- {component: transformer, parameter: rope.*, reason: computed when the model is built}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from mflux_port.errors import PortError, short_repr
from mflux_port.files.yaml_files import read_yaml

WAIVERS = "porting/{model}/waivers.yml"
# The other section is read by the port's parity/waivers.py.
SECTIONS = ("ledger", "parity")
_CURES = {"reason": "write why it may stay open"}


@dataclass
class Waivers:
    """Patterns with their reasons, for one component. ``used`` collects those that waived something.

    ``shapes``: parameters that may differ from their tensor in trailing axes of length 1; only ``known`` facts of
    mflux's own classes have any.
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
    """Read the waivers of every component; none without the file.

    Raises PortError for a wrong form or a missing reason.
    """
    if not path.is_file():
        return {}
    table = read_yaml(path, "fix it") or {}
    if not isinstance(table, dict) or not table.keys() <= set(SECTIONS):
        raise PortError(f"{path} may have the sections {' and '.join(SECTIONS)} only, each a list of entries")
    entries = table.get("ledger") or []
    if not isinstance(entries, list):
        raise PortError(f"{path}: ledger must be a list of entries with component, tensor or parameter, and reason")
    waivers: dict[str, Waivers] = {}
    for number, entry in enumerate(entries, 1):
        side, pattern = _pattern(entry, f"{path}: entry {number} of ledger")
        getattr(waivers.setdefault(entry["component"], Waivers()), side)[pattern] = entry["reason"]
    return waivers


def _pattern(entry: object, where: str) -> tuple[str, str]:
    # The side of the account, `tensors` or `parameters`, and the pattern of names on it.
    forms = ({"component", side, "reason"} for side in ("tensor", "parameter"))
    if not isinstance(entry, dict) or set(entry) not in forms:
        raise PortError(f"{where} needs component, either tensor or parameter, and reason")
    for name, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise PortError(
                f"{where}: {name} is {short_repr(value)}, which is not text; {_CURES.get(name, 'write it in quotes')}"
            )
    side = "tensor" if "tensor" in entry else "parameter"
    return f"{side}s", entry[side]
