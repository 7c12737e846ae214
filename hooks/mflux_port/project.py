"""Where the template lies: in a clone of this project, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

from mflux_port.errors import PortError


def project_root() -> Path:
    """The folder that holds ``copier.yml``. Raises PortError when the installation lacks it."""
    package = Path(__file__).resolve().parent
    for root in (package.parent.parent, package / "_project"):
        if (root / "copier.yml").is_file():
            return root
    raise PortError(f"{package} was installed without the template; install copier-mflux-port again")
