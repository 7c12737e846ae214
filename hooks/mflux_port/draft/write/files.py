"""Decide where drafted files go: they replace files that nobody edited, and are written next to all others."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from mflux_port.checkout.tree import Checkout, verify_inside
from mflux_port.checkpoint.keylist import KEYLIST
from mflux_port.draft.write.unresolved import UNRESOLVED
from mflux_port.port.changed_files import rendered_texts
from mflux_port.port.port import Port

RECORD = "porting/{model}/drafted.txt"


@dataclass(frozen=True)
class PlannedFile:
    """A file to write.

    ``instead_of``: the file for which the draft was made, and which stays because somebody has edited it.
    """

    name: str
    text: str
    before: str | None
    instead_of: str = ""


def plan_files(checkout: Checkout, port: Port, texts: dict[str, str]) -> list[PlannedFile]:
    """Decide for every drafted file (path in the checkout: source) where it goes. Nothing is written."""
    for name in (*texts, *(name.format(model=port.model) for name in (RECORD, KEYLIST, UNRESOLVED))):
        verify_inside(checkout.root, name)
    drafted = _read_record(checkout, port)
    present = {name: _read(checkout.root / name) for name in texts}
    asked = [
        name for name, now in present.items() if now not in (None, texts[name]) and drafted.get(name) != _mark(now)
    ]
    rendered = rendered_texts(checkout.root, port.model, asked) if asked else {}
    planned = []
    for name, text in texts.items():
        if name in asked and rendered.get(name) != present[name]:
            stem, _, suffix = name.rpartition(".")
            beside = f"{stem}_drafted.{suffix}"
            planned.append(PlannedFile(beside, text, _read(checkout.root / beside), name))
        else:
            planned.append(PlannedFile(name, text, present[name]))
    return planned


def contents(checkout: Checkout, port: Port, planned: list[PlannedFile]) -> dict[str, str]:
    """The plan's texts by path, and the record of what is written, so that a later draft may write over it."""
    record = _read_record(checkout, port)
    record |= {file.name: _mark(file.text) for file in planned if not file.instead_of}
    lines = [f"{mark}  {name}\n" for name, mark in sorted(record.items())]
    return {file.name: file.text for file in planned} | {RECORD.format(model=port.model): "".join(lines)}


def leftovers(checkout: Checkout, planned: list[PlannedFile]) -> list[str]:
    """Modules next to the drafted ones that no draft writes: rendered files no longer used, or the porter's own."""
    written = {file.instead_of or file.name for file in planned}
    folders = {name.rpartition("/")[0] for name in written if "/model/" in name}
    found = (
        path.relative_to(checkout.root).as_posix()
        for folder in folders
        for path in (checkout.root / folder).glob("*.py")
    )
    return sorted(name for name in found if name not in written and not name.endswith("_drafted.py"))


def stand_ins(checkout: Checkout, port: Port, texts: dict[str, str], names: list[str]) -> list[str]:
    """The leftover ``names`` that are unchanged since they were rendered and that nothing in the port imports.

    ``texts`` are the files that this draft writes. Such a file was only a placeholder for the draft.
    """
    present = {name: _read(checkout.root / name) for name in names if not name.endswith("__init__.py")}
    rendered = rendered_texts(checkout.root, port.model, list(present)) if present else {}
    spare = {name for name, text in present.items() if rendered.get(name) == text}
    sources = _sources(checkout, port) | texts
    while used := {name for name in spare if _is_imported(name, sources, spare)}:
        spare -= used
    return sorted(spare)


def _sources(checkout: Checkout, port: Port) -> dict[str, str]:
    folders = (checkout.root / port.folder, checkout.root / "tests")
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    return {path.relative_to(checkout.root).as_posix(): _read(path) or "" for path in paths}


def _is_imported(name: str, sources: dict[str, str], spare: set[str]) -> bool:
    module = name.removeprefix("src/").removesuffix(".py").replace("/", ".")
    return any(f"{module} import" in text for other, text in sources.items() if other not in spare)


def lists(checkout: Checkout, port: Port, texts: dict[str, str | None]) -> list[PlannedFile]:
    """The key list and the unresolved list (name with ``{model}``: text) as files of a plan; without text it is
    removed.
    """
    names = {name.format(model=port.model): text or "" for name, text in texts.items()}
    return [PlannedFile(name, text, _read(checkout.root / name)) for name, text in names.items()]


def diff(planned: list[PlannedFile]) -> str:
    """The plan as a unified diff."""
    parts = []
    for file in planned:
        old, new = (file.before or "").splitlines(True), file.text.splitlines(True)
        source = f"a/{file.name}" if file.before is not None else "/dev/null"
        parts += difflib.unified_diff(old, new, source, f"b/{file.name}")
    return "".join(parts)


def _read_record(checkout: Checkout, port: Port) -> dict[str, str]:
    text = _read(checkout.root / RECORD.format(model=port.model)) or ""
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line)
    return {name: mark for mark, name in pairs}


def _mark(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()[:16]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
