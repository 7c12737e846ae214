"""v0.2.0: ``ledger_waivers.yml`` and the list in ``waivers.yml`` become the two sections of one ``waivers.yml``."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.checkout.lock import under_way
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.files.yaml_files import parse_yaml, read_text
from mflux_port.ledger.waivers import WAIVERS, read_waivers
from mflux_port.update.tree import amend

OLD_LEDGER = "porting/{model}/ledger_waivers.yml"
_CURE = "fix it, commit, and update again"


def merge_waivers(root: Path, model: str) -> None:
    """After the merge: the porter's two files become one. Raises PortError when one of them is not what v0.1.0 read."""
    names = [name.format(model=model) for name in (OLD_LEDGER, WAIVERS)]
    ledger, waivers = (_text(root / name) for name in names)
    if not ledger and (not waivers or _has_sections(waivers, root / names[1])):
        return
    if ledger and "ledger" in (parse_yaml(waivers, root / names[1], _CURE) or ()):
        raise PortError(
            f"{names[0]} and the section ledger of {names[1]} are both there; keep one, commit, and update again"
        )
    merged = _ledger_section(ledger, root / names[0]) + _parity_section(waivers, root / names[1])
    amend(root, writes=[*(under_way(root) or {}).get("writes", ()), *names])
    write_whole(root / names[1], merged)
    (root / names[0]).unlink(missing_ok=True)
    read_waivers(root / names[1])


def _text(path: Path) -> str:
    return read_text(path, _CURE) if path.is_file() else ""


def _has_sections(text: str, path: Path) -> bool:
    return isinstance(parse_yaml(text, path, _CURE), dict)


def _ledger_section(text: str, path: Path) -> str:
    import yaml

    table = parse_yaml(text, path, _CURE) or {}
    entries = []
    try:
        for component, sides in table.items():
            for side, patterns in (sides or {}).items():
                for pattern, reason in patterns.items():
                    entries.append({"component": component, _SINGULAR[side]: pattern, "reason": reason})
    except (AttributeError, KeyError):
        raise PortError(f"{path} must be a mapping of components to tensors and parameters; {_CURE}") from None
    comments = "".join(line.strip() + "\n" for line in text.splitlines() if line.lstrip().startswith("#"))
    return comments + (yaml.safe_dump({"ledger": entries}, sort_keys=False, width=110) if entries else "")


def _parity_section(text: str, path: Path) -> str:
    # The list goes below the section's name as it is, comments and all.
    held = parse_yaml(text, path, _CURE)
    if isinstance(held, dict):
        return text
    if not held:
        return text if text.lstrip().startswith("#") else ""
    lines = re.sub(r"\A((?:[ \t]*(?:#.*)?\n)*)---[^\n]*\n", r"\1", text.rstrip("\n") + "\n").splitlines(keepends=True)
    section = "parity:\n" + "".join(f"  {line}" if line.strip() else line for line in lines)
    if not isinstance(held, list) or parse_yaml(section, path, _CURE) != {"parity": held}:
        raise PortError(
            f"{path} cannot be moved below `parity:` as it is; write the entries there, commit, and update again"
        )
    return section


_SINGULAR = {"tensors": "tensor", "parameters": "parameter"}
