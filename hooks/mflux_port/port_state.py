"""Where a port stands: facts for ``mflux-port status`` and for the report of an update. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout import Checkout
from mflux_port.copying import rendered_files
from mflux_port.port import Port, load_port
from mflux_port.wiring.surfaces import SURFACES

_OPENING = b"<<<<<<< "


@dataclass(frozen=True)
class Conflict:
    """Where a conflict that an update or a merge left begins. ``file`` is relative to the checkout, lines from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class PortState:
    """One port in one checkout. ``wiring`` holds a result per surface, by its id."""

    model: str
    template: str
    template_version: str
    api_level: str
    checkout_level: str
    wiring: dict[str, wiring.SurfaceResult]
    conflicts: tuple[Conflict, ...]

    @property
    def level_is_current(self) -> bool:
        return self.api_level == self.checkout_level


def port_state(checkout: Checkout, model: str) -> PortState:
    """Everything at once. Raises PortError when the answers file is missing or invalid."""
    port = load_port(checkout.root, model)
    return PortState(
        model=model,
        template=port.template,
        template_version=template_version(port),
        api_level=port.mflux_api,
        checkout_level=checkout.api_level,
        wiring=wiring.states(checkout, port),
        conflicts=tuple(conflict_markers(checkout.root, port_files(checkout.root, port.model))),
    )


def template_version(port: Port) -> str:
    """The template's version that the port was last rendered from, ``unknown`` when it was not in git."""
    return port.template_commit or "unknown"


def port_files(root: Path, model: str) -> list[str]:
    """The port's own files and the shared files that wiring edits, as far as they exist, relative to ``root``."""
    own = [path.relative_to(root).as_posix() for path in rendered_files(root, model)]
    shared = {surface.FILE.format(model=model) for surface in SURFACES}
    return sorted({*own, *(name for name in shared if (root / name).is_file())})


def conflict_markers(root: Path, files: list[str]) -> list[Conflict]:
    """The first line of every conflict in ``files``; a part that was rejected whole (``.rej``) counts as line 1."""
    found = []
    for name in files:
        path = root / name
        if not path.is_file() or path.is_symlink():
            continue
        if name.endswith(".rej"):
            found.append(Conflict(name, 1))
            continue
        data = path.read_bytes()
        if _OPENING in data:
            lines = data.splitlines()
            found += [Conflict(name, number) for number, line in enumerate(lines, 1) if line.startswith(_OPENING)]
    return found
