"""The state of a port: facts for ``mflux-port status`` and for the report of an update. Nothing here writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port, load_port
from mflux_port.update.after_copy import rendered_files
from mflux_port.update.tracked import ignored_files
from mflux_port.update.tree import unmerged_files
from mflux_port.wiring.surfaces import SURFACES

_OPENING = b"<<<<<<< "


class Conflict(NamedTuple):
    """The place where a conflict begins. ``file`` is relative to the checkout; lines count from 1.

    ``why`` is set for a conflict of a whole file, without markers.
    """

    file: str
    line: int
    why: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" ({self.why})" if self.why else "")


class PortState(NamedTuple):
    """One port in one checkout. ``wiring`` holds a result per surface, by its id; git does not track ``ignored``."""

    model: str
    template: str
    template_version: str
    api_level: str
    checkout_level: str
    wiring: dict[str, wiring.SurfaceResult]
    conflicts: tuple[Conflict, ...]
    ignored: tuple[str, ...]

    @property
    def level_is_current(self) -> bool:
        return self.api_level == self.checkout_level

    @property
    def version(self) -> tuple[int, ...] | None:
        return version_of(self.template_version)


def port_state(checkout: Checkout, model: str) -> PortState:
    """Read the whole state. Raises PortError when the answers file is missing or invalid."""
    port = load_port(checkout.root, model)
    return PortState(
        model=model,
        template=port.template,
        template_version=template_version(port),
        api_level=port.mflux_api,
        checkout_level=checkout.api_level,
        wiring=wiring.states(checkout, port),
        conflicts=tuple(conflicts(checkout.root, port_files(checkout.root, port.model))),
        ignored=tuple(ignored_files(checkout.root, model)),
    )


def version_of(tag: str) -> tuple[int, ...] | None:
    """The numbers of a release's tag, to compare; None for any other name."""
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", tag)
    return found and tuple(map(int, found.groups()))


def template_version(port: Port) -> str:
    """The template version that the port was last rendered from, ``unknown`` when it was not in git."""
    return port.template_commit or "unknown"


def port_files(root: Path, model: str) -> list[str]:
    """The port's own files and the shared files that wiring edits, if they exist, relative to ``root``.

    Unmerged files that name the port are included; they may come from another version of the template.
    """
    own = [path.relative_to(root).as_posix() for path in rendered_files(root, model)]
    shared = {surface.FILE.format(model=model) for surface in SURFACES}
    unmerged = [name for name in unmerged_files(root) if names_port(name, model)]
    return sorted({*own, *unmerged, *(name for name in shared if (root / name).is_file())})


def names_port(file: str, model: str) -> bool:
    """Whether the path of a file contains the model's name as a word."""
    return bool(re.search(rf"(?<![a-z0-9]){model}(?![a-z0-9])", file))


def conflicts(root: Path, files: list[str]) -> list[Conflict]:
    """Every conflict in ``files``: by its markers, by git's index, or by a rejected part (``.rej``)."""
    found = [conflict for name in files for conflict in _in_file(root, name)]
    marked = {conflict.file for conflict in found}
    whole = [name for name in unmerged_files(root) if name in files and name not in marked]
    found += [Conflict(name, 1, "git lists it as unmerged") for name in whole]
    return sorted(found, key=lambda conflict: (conflict.file, conflict.line))


def _in_file(root: Path, name: str) -> list[Conflict]:
    path = root / name
    if not path.is_file() or path.is_symlink():
        return []
    if name.endswith(".rej"):
        return [Conflict(name, 1, "a part was rejected")]
    data = path.read_bytes()
    if _OPENING not in data:
        return []
    return [Conflict(name, number) for number, line in enumerate(data.splitlines(), 1) if line.startswith(_OPENING)]
