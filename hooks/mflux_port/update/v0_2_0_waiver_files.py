"""v0.2.0: ``ledger_waivers.yml`` and the list in ``waivers.yml`` become the two sections of one ``waivers.yml``."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.checkout.lock import under_way
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.files.yaml_files import read_yaml
from mflux_port.ledger.waivers import WAIVERS, read_waivers
from mflux_port.update.tree import amend

OLD_LEDGER = "porting/{model}/ledger_waivers.yml"
_FIX = "fix it, commit, and update again"
_SINGULAR = {"tensors": "tensor", "parameters": "parameter"}


def merge_waivers(root: Path, model: str) -> None:
    """After the merge: the porter's two files become one. Raises PortError when the form of one is not v0.1.0's."""
    names = [name.format(model=model) for name in (OLD_LEDGER, WAIVERS)]
    ledger, waivers = (root / name for name in names)
    known, differences = _held(ledger), _held(waivers)
    if not ledger.is_file() and (not differences or isinstance(differences, dict)):
        return
    if known and isinstance(differences, dict) and "ledger" in differences:
        raise PortError(
            f"{names[0]} and the section ledger of {names[1]} are both there; keep one, commit, and update again"
        )
    merged = _ledger_section(ledger, known) + _parity_section(waivers, differences)
    amend(root, writes=[*(under_way(root) or {}).get("writes", ()), *names])
    if merged:
        write_whole(waivers, merged)
    ledger.unlink(missing_ok=True)
    read_waivers(waivers)


def _held(path: Path) -> object:
    return read_yaml(path, _FIX) if path.is_file() else None


def _ledger_section(path: Path, known: object) -> str:
    import yaml  # Copier's interpreter has PyYAML

    try:
        entries = [
            {"component": component, _SINGULAR[side]: pattern, "reason": reason}
            for component, sides in (known or {}).items()
            for side, patterns in (sides or {}).items()
            for pattern, reason in patterns.items()
        ]
    except (AttributeError, KeyError):
        raise PortError(f"{path} must be a mapping of components to tensors and parameters; {_FIX}") from None
    return _comments(path) + (yaml.safe_dump({"ledger": entries}, sort_keys=False, width=110) if entries else "")


def _parity_section(path: Path, differences: object) -> str:
    # The list goes below the section's name unchanged, with its comments.
    if not differences:
        return _comments(path)
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    if isinstance(differences, dict):
        return text
    # Leave out the `---` that may begin a document.
    text = re.sub(r"\A((?:[ \t]*(?:#.*)?\n)*)---[^\n]*\n", r"\1", text)
    section = "parity:\n" + "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))
    if not isinstance(differences, list) or not _holds(section, {"parity": differences}):
        raise PortError(
            f"{path} cannot be moved below `parity:` as it is; write the entries there, commit, and update again"
        )
    return section


def _comments(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return "".join(f"{line.strip()}\n" for line in lines if line.lstrip().startswith("#"))


def _holds(text: str, value: object) -> bool:
    import yaml

    try:
        return yaml.safe_load(text) == value
    except yaml.YAMLError:
        return False
