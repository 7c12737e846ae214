"""Versions of the template for the tests: a scratch clone of this project, committed and tagged there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout import releases

PROJECT = Path(__file__).resolve().parents[2]
ANSWERS = "porting/{model}/answers.yml"
# More answers of the port of nova.
NOVA = {"display_name": "Nova of Acme 2.1"}
# The template's location as seen from the checkouts: both can be moved and copied together.
BESIDE = Path("../template")
EDIT = "# The porter's own line.\n"
# Ports in these tests have their own components, which are small and need no download.
QUESTIONS = {"vae": "own", "text_encoder": "own"}


# Parts of paths that are not needed by a test that renders often.
_LESS = (
    *("/parity/", "edit", "training", "_vae", "lora", "own_commands", "run_mflux", "latent_creator.py.jinja"),
    *("rope_embedder", "timestep_embedder", "output_norm", "feed_forward", "attention", "text_encoder_layer"),
)


class Template:
    """A git repository with the template in it, in which the tests make versions."""

    def __init__(self, home: Path):
        self.home = home

    @classmethod
    def snapshot(cls, home: Path) -> Template:
        """Commit the current work tree and tag it v0.1.0."""
        home.mkdir(parents=True, exist_ok=True)
        listed = git(PROJECT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
        for name in listed:
            if name.startswith(("copier.yml", "template/", "components/", "hooks/")) and (PROJECT / name).is_file():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, home / name)
        git(home, "init", "--quiet", "--initial-branch", "main")
        template = cls(home)
        template.tag("v0.1.0")
        git(home, "repack", "-a", "-d", "--quiet")  # tests copy it, and Copier clones it
        return template

    def tag(self, version: str) -> None:
        releases.commit(self.home, version)
        git(self.home, "tag", version)

    def shrink(self) -> None:
        """Leave a third of the files in v0.1.0, for ports whose VAE and text encoder are mflux's."""
        for path in sorted((self.home / "template").rglob("*")):
            name = path.relative_to(self.home).as_posix()
            if path.is_file() and any(word in name for word in _LESS) and "latent_creator/{{" not in name:
                path.unlink()
        releases.commit(self.home, "Less")
        git(self.home, "tag", "--force", "v0.1.0")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace ``old``, which must be there, in one file of the template."""
        path = self.home / name
        text = path.read_text()
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new))

    def find(self, ending: str) -> str:
        """The only file of the template whose path, rendered for the model ``nova``, has this ending."""
        named = {path: path.replace("{{ model }}", "nova").removesuffix(".jinja") for path in self.files()}
        found = [path for path, name in named.items() if name.endswith(ending)]
        assert len(found) == 1, f"{ending}: {found}"
        return found[0]

    def files(self) -> list[str]:
        return [path.relative_to(self.home).as_posix() for path in (self.home / "template").rglob("*")]

    def append(self, ending: str, text: str) -> None:
        """Add lines to the end of a file that ``find`` finds."""
        path = self.home / self.find(ending)
        path.write_text(path.read_text().rstrip("\n") + "\n" + text)

    def migrate(self, stage: str, step: str, *arguments: str, version: str = "v0.2.0") -> None:
        """Add a versioned migration: one before the merge goes above ``plan``, one after it above ``finish``."""
        words = ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/during_update.py", step]
        words += ["{{ _copier_conf.answers_file }}", *arguments]
        self.add_migration(stage, words, version)

    def add_migration(self, stage: str, command: list[str], version: str | None = "v0.2.0") -> None:
        entry = f"  - when: \"{{{{ _stage == '{stage}' }}}}\"\n"
        entry += f"    version: {version}\n" if version else ""
        entry += f"    command: {json.dumps(command)}\n"
        path = self.home / "copier.yml"
        text = path.read_text()
        step = text.index("      - plan\n" if stage == "before" else "      - finish\n")
        at = text.rindex("  - when:", 0, step)
        path.write_text(text[:at] + entry + text[at:])


class Scene(NamedTuple):
    """Make a template and, next to it, a checkout with the port of nova."""

    template: Template
    root: Path


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy(template: Path, root: Path, model: str, version: str, **answers: object) -> None:
    """Start a port, as ``copier copy`` does, and commit it."""
    answers = {**QUESTIONS, "model": model, "hf_repo": f"acme/{model}", **answers}
    done = copier(root, "copy", "--vcs-ref", version, *_data(answers), str(template), ".")
    assert done.returncode == 0, done.stdout + done.stderr
    releases.commit(root, f"Start the port of {model}")


def point_to(root: Path, model: str, template: Path) -> None:
    """Change the template's location in the port's answers, and commit that."""
    path = root / ANSWERS.format(model=model)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(f"_src_path: {template}\n" if line.startswith("_src_path:") else line for line in lines))
    releases.commit(root, "Point to the test's own template")


def update(root: Path, model: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run ``copier update`` as a user does."""
    return copier(root, "update", "-a", ANSWERS.format(model=model), *arguments)


def copier(root: Path, command: str, *arguments: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "copier", command, "--trust", "--defaults", *arguments]
    return subprocess.run(words, cwd=root, env=os.environ, capture_output=True, text=True)


def status(root: Path) -> str:
    return git(root, "status", "--porcelain")


def tree(root: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, bytes]:
    """Every file that git would track, with its bytes."""
    names = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    return {name: (root / name).read_bytes() for name in set(names) if name and (root / name).is_file() and keep(name)}


def edit(root: Path, endings: tuple[str, ...]) -> None:
    """Insert EDIT at the top of the files whose paths have these endings."""
    names = tree(root)
    for ending in endings:
        (name,) = [name for name in names if name.endswith(ending)]
        (root / name).write_text(EDIT + (root / name).read_text())


def _data(answers: dict) -> list[str]:
    return [word for name, value in answers.items() for word in ("-d", f"{name}={_word(value)}")]


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
