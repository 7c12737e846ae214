"""``porting/<model>/unresolved.yml``: everything that drafts left undecided.

A draft replaces only its own components' entries.
"""

from __future__ import annotations

from pathlib import Path

from mflux_port.draft.write.targets import Unresolved
from mflux_port.errors import PortError
from mflux_port.files.yaml_files import read_yaml

UNRESOLVED = "porting/{model}/unresolved.yml"
_HEAD = (
    "# What the draft did not decide. Decide each in the code, in the mapping or in waivers.yml, then delete it here.\n"
)
_FIX = "fix it, or remove it and draft every component again"


def unresolved_text(path: Path, drafted: list[str], found: list[Unresolved]) -> str | None:
    """The list with the entries of the ``drafted`` components replaced by ``found``; None when nothing is left.

    Raises PortError when the file at ``path`` is not such a list.
    """
    import yaml

    entries = [entry for entry in unresolved_entries(path) if entry["component"] not in drafted]
    entries += [
        {"component": one.component, "name": one.name, "why": one.why, "candidates": list(one.candidates)}
        for one in found
    ]
    return _HEAD + yaml.safe_dump(entries, sort_keys=False, width=110) if entries else None


def unresolved_entries(path: Path) -> list[dict]:
    """The entries of the list at ``path``, none without that file. Raises PortError when it is not such a list."""
    table = read_yaml(path, _FIX) if path.is_file() else None
    entries = table or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "component" in entry for entry in entries):
        raise PortError(f"{path} must be a list of entries that name their component; {_FIX}")
    return entries
