"""The changes of a port's branch outside the package, with their reasons; and the steps that have a commit."""

from __future__ import annotations

import re

from mflux_port.checks.engine.package import Package
from mflux_port.wiring.surfaces import SURFACES


def changed_outside(package: Package) -> list[str]:
    """Changed files outside the package, its tests and its porting folder."""
    own = (f"{package.folder}/", f"porting/{package.model}/")
    return [file for file in package.facts.changed if not file.startswith(own) and not package.owns_test(file)]


def written_reasons(package: Package) -> dict[str, str]:
    """The reasons in PORTING.md, by file: ``- `path`: reason``."""
    notes = package.facts.text(f"porting/{package.model}/PORTING.md")
    return dict(re.findall(r"^- `([^`]+)`: *(\S.*)$", notes, re.MULTILINE))


def known_reason(package: Package, file: str) -> str:
    """The reason for a change that the file's content shows by itself; empty otherwise."""
    ids = [surface.ID for surface in SURFACES if surface.FILE.format(model=package.model) == file]
    if file == "uv.lock":
        return "the lock file follows pyproject.toml"
    if re.fullmatch(r"tests/([\w/]+/)?__init__\.py", file) and not package.facts.text(file):
        return "makes a test folder importable"
    if file.startswith("src/mflux/assets/") and f"/{file.removeprefix('src/mflux/')}" in package.readme:
        return "the README's image"
    if not ids or _unrelated_lines(package, file):
        return ""
    return f"wiring: {', '.join(ids)}"


def missing_milestones(package: Package) -> list[str]:
    """The steps that no commit of the port's branch names."""
    log = " ".join(package.facts.git("log", "--format=%s", f"{package.facts.base}..HEAD")).lower()
    wanted = {"VAE": "vae", "transformer": "transformer", "text encoder": "encoder"}
    return [name for name, word in wanted.items() if word not in log]


def _unrelated_lines(package: Package, file: str) -> list[str]:
    """Changed lines of a wired file, in blocks where no line names the port."""
    import difflib  # only --merge needs it

    before = package.facts.git("show", f"{package.facts.base}:{file}")
    after = package.unwired.get(file, package.facts.text(file)).splitlines()
    names = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in package.names), re.IGNORECASE)
    found: list[str] = []
    for _, start, stop, begin, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = before[start:stop], after[begin:end]
        if old != new and not any(names.search(line) for line in new):
            found += new or old
    return found
