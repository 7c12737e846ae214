"""The template as users get it: a git repository with tagged versions, which Copier clones for every run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mflux_port.checkout import releases
from mflux_port.template.project import project_root


def snapshot(home: Path) -> Path:
    """The template of this project as the tag v0.1.0 of a new repository, without its history."""
    home.mkdir()
    shutil.copy2(project_root() / "copier.yml", home)
    for name in ("template", "components", "hooks"):
        shutil.copytree(project_root() / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(home, "init", "--quiet", "--initial-branch", "main")
    tag(home, "v0.1.0")
    return home


def tag(home: Path, version: str) -> None:
    """Commit everything and tag it ``version``."""
    releases.commit(home, version)
    git(home, "tag", version)


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)
