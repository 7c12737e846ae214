"""An mflux checkout: its location, and the API level of its code, which follows from the files that it has."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.paths import real_path

# Each level with a file that was new in it, newest first. mflux 0.19 to 0.21 lack the file of 0.22 and count as 0.18,
# although they changed parts of its API.
_LEVEL_FILES = {
    "0.24": "src/mflux/models/common/vae/vae_decode_options.py",
    "0.22": "src/mflux/cli/capabilities.py",
}
_OLDEST_LEVEL = "0.18"
# A file, and a word in it that 0.18.0 added. mflux 0.17 and earlier also lack command line helpers that ports use.
_OLDEST_WEIGHTS = "src/mflux/models/common/weights/loading/weight_definition.py", b"key_transform"
_REQUIRED = (
    "pyproject.toml",
    "src/mflux/models/common/config/model_config.py",
    "src/mflux/cli/defaults/defaults.py",
    "src/mflux/models/common/cli/save.py",
)


def verify_inside(root: Path, name: str) -> None:
    """Raise PortError when ``name`` (relative to ``root``) is a link to a place outside the checkout."""
    if not is_inside(root, name):
        target = real_path(root / name)
        raise PortError(
            f"{name} is a link to a place outside the checkout: {target}; put the file or folder itself there"
        )


def is_inside(root: Path, name: str) -> bool:
    """Whether ``name`` (relative to ``root``) is in the checkout itself, and not behind a link that leads out of it."""
    return real_path(root / name).is_relative_to(real_path(root))


def state_dir(root: Path) -> Path:
    """The folder for locks and the journal: inside ``.git``, where ``git status`` does not show them."""
    git = root / ".git"
    if git.is_file():
        git = _linked_git_folder(git)
    return (git if git.is_dir() else root / "porting") / "mflux-port"


def _linked_git_folder(file: Path) -> Path:
    # In a worktree ``.git`` is a file that names the folder.
    name = file.read_text(encoding="utf-8", errors="replace").partition("gitdir:")[2].strip()
    folder = file.parent / name
    if not name or not folder.is_dir():
        raise PortError(f"{file} does not name a git folder ({name or 'no gitdir:'}); fix it, or clone mflux again")
    return real_path(folder)


class Checkout:
    """The root of an mflux source tree. Files are read as bytes, each at most once."""

    def __init__(self, path: Path | str):
        """Raise PortError when a file that every mflux has is missing below ``path``."""
        self.root = real_path(Path(path))
        self._files: dict[str, bytes | None] = {}
        self.parsed: dict[str, object] = {}  # parsed files by path, for the readers that share them
        missing = next((name for name in _REQUIRED if not self._has(name)), None)
        if missing:
            raise PortError(
                f"{self.root} is not an mflux checkout ({missing} is missing); "
                "run this in the root of a clone of mflux, or name it with --checkout"
            )
        file, word = _OLDEST_WEIGHTS
        if word not in (self.read(file) or word):
            raise PortError(
                f"{self.root} is older than mflux {_OLDEST_LEVEL}, which ports need ({file} has no {word.decode()}); "
                f"check out mflux {_OLDEST_LEVEL} or later"
            )

    def read(self, name: str) -> bytes | None:
        """The bytes of a file (``name`` is relative to the root), or None when it does not exist."""
        if name not in self._files:
            self._files[name] = read_bytes(self.root / name)
        return self._files[name]

    @cached_property
    def api_level(self) -> str:
        """``0.24``, ``0.22`` or ``0.18``: the newest level whose file the checkout has."""
        return next((level for level, name in _LEVEL_FILES.items() if self._has(name)), _OLDEST_LEVEL)

    def _has(self, name: str) -> bool:
        return (self.root / name).is_file()


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, or None when it does not exist. Raises OSError for any other failure."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
