"""An mflux checkout: where it is and which API level its code has. Told by what the files contain."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from mflux_port.errors import PortError

# Each level with a file that came with it, newest first. mflux 0.19 to 0.21 are on the way to level 0.22: they left the
# form of 0.18 without having all of it.
_MARKS = {
    "0.24": "src/mflux/models/common/vae/vae_decode_options.py",
    "0.22": "src/mflux/cli/capabilities.py",
}
_REQUIRED = (
    "pyproject.toml",
    "src/mflux/models/common/config/model_config.py",
    "src/mflux/cli/defaults/defaults.py",
    "src/mflux/models/common/cli/save.py",
)


def verify_inside(root: Path, name: str) -> None:
    """Raise PortError when a link leads ``name`` (relative to ``root``) out of the checkout: nothing is written there."""
    target = Path(os.path.realpath(root / name))  # unlike resolve(), which trips over a loop of links
    if not target.is_relative_to(os.path.realpath(root)):
        raise PortError(f"{name} leads out of the checkout to {target}; put the file or folder itself there")


def state_dir(root: Path) -> Path:
    """Where locks and journal lie: inside ``.git``, where no status shows them."""
    git = root / ".git"
    if git.is_file():  # a worktree: the file names the real folder
        named = git.read_text(encoding="utf-8", errors="replace").partition("gitdir:")[2].strip()
        if not named or not (root / named).is_dir():
            raise PortError(f"{git} names no git folder ({named or 'no gitdir:'}); mend it, or clone mflux again")
        git = (root / named).resolve()
    return (git if git.is_dir() else root / "porting") / "mflux-port"


class Checkout:
    """The root of an mflux source tree. Files are read as bytes, each at most once."""

    def __init__(self, path: Path | str):
        """Raise PortError when a file that every mflux has is missing below ``path``."""
        self.root = Path(os.path.realpath(path))
        self._files: dict[str, bytes | None] = {}
        self.parsed: dict[str, object] = {}  # what readers made of the files, by path
        missing = next((name for name in _REQUIRED if not (self.root / name).is_file()), None)
        if missing:
            raise PortError(
                f"{self.root} is no mflux checkout ({missing} is missing); "
                "run this in the root of a clone of mflux, or point there with --checkout"
            )

    def read(self, relative: str) -> bytes | None:
        """The bytes of a file, or None when it does not exist."""
        if relative not in self._files:
            try:
                with open(f"{self.root}/{relative}", "rb") as file:
                    self._files[relative] = file.read()
            except (FileNotFoundError, NotADirectoryError):
                self._files[relative] = None
        return self._files[relative]

    @cached_property
    def api_level(self) -> str:
        """The newest level whose marking file the checkout has: ``0.24``, ``0.22`` or ``0.18``."""
        marked = (level for level, mark in _MARKS.items() if (self.root / mark).is_file())
        return next(marked, "0.18")
