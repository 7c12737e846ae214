"""An mflux checkout: where it is and which API level its code has. Told by what the files contain.

What every wiring loads (this, the answers, locks and transactions) does without pathlib: its import would cost a wiring as
much as all its writing does.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from mflux_port.errors import PortError

if TYPE_CHECKING:
    from pathlib import Path

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


def verify_inside(root: os.PathLike | str, name: str) -> None:
    """Raise PortError when a link leads ``name`` (relative to ``root``) out of the checkout: nothing is written there."""
    target = os.path.realpath(os.path.join(root, name))
    if not lies_in(target, os.path.realpath(root)):
        raise PortError(f"{name} leads out of the checkout to {target}; put the file or folder itself there")


def lies_in(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or below it; both without links and absolute."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def state_dir(root: os.PathLike | str) -> str:
    """Where locks and journal lie: inside ``.git``, where no status shows them."""
    git = os.path.join(root, ".git")
    if os.path.isfile(git):  # a worktree: the file names the real folder
        with open(git, encoding="utf-8", errors="replace") as file:
            named = file.read().partition("gitdir:")[2].strip()
        if not named or not os.path.isdir(os.path.join(root, named)):
            raise PortError(f"{git} names no git folder ({named or 'no gitdir:'}); mend it, or clone mflux again")
        git = os.path.realpath(os.path.join(root, named))
    return os.path.join(git if os.path.isdir(git) else os.path.join(root, "porting"), "mflux-port")


class Checkout:
    """The root of an mflux source tree. Files are read as bytes, each at most once."""

    def __init__(self, path: os.PathLike | str):
        """Raise PortError when a file that every mflux has is missing below ``path``."""
        self.folder = os.path.realpath(path)
        self._files: dict[str, bytes | None] = {}
        self.parsed: dict[str, object] = {}  # what readers made of the files, by path
        missing = next((name for name in _REQUIRED if not self._has(name)), None)
        if missing:
            raise PortError(
                f"{self.folder} is no mflux checkout ({missing} is missing); "
                "run this in the root of a clone of mflux, or point there with --checkout"
            )

    @cached_property
    def root(self) -> Path:
        """``folder``, for whoever walks through it."""
        from pathlib import Path

        return Path(self.folder)

    def read(self, relative: str) -> bytes | None:
        """The bytes of a file, or None when it does not exist."""
        if relative not in self._files:
            try:
                with open(f"{self.folder}/{relative}", "rb") as file:
                    self._files[relative] = file.read()
            except (FileNotFoundError, NotADirectoryError):
                self._files[relative] = None
        return self._files[relative]

    @cached_property
    def api_level(self) -> str:
        """The newest level whose marking file the checkout has: ``0.24``, ``0.22`` or ``0.18``."""
        marked = (level for level, mark in _MARKS.items() if self._has(mark))
        return next(marked, "0.18")

    def _has(self, relative: str) -> bool:
        return os.path.isfile(f"{self.folder}/{relative}")
