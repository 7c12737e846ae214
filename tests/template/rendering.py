"""Render ports into real checkouts, many into one, in this process and without Copier's task."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from unittest import mock

import copier
import jinja2
import yaml
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import load_port

PROJECT = Path(__file__).resolve().parents[2]
_compiled: dict[tuple, object] = {}
_compile = jinja2.Environment.compile


def template_copy(folder: Path) -> Path:
    """The template as plain files: Copier would clone a git work tree again for every rendering."""
    for name in ("components", "template"):
        shutil.copytree(PROJECT / name, folder / name)
    shutil.copy(PROJECT / "copier.yml", folder)
    return folder


def render(template: Path, checkout: Path, answers: dict) -> list[Path]:
    """Render one port and return its files; the model's name must be new to the checkout."""
    before = set(_files(checkout))
    data = {"hf_repo": "acme/" + answers["model"].replace("_", "-"), **answers}
    with mock.patch.object(jinja2.Environment, "compile", compile_once):
        copier.run_copy(str(template), checkout, data, defaults=True, quiet=True, unsafe=True, skip_tasks=True)
    return sorted(set(_files(checkout)) - before)


def wire(checkout: Path, model: str) -> None:
    """Write the port into the shared files of the checkout."""
    wiring.wire(Checkout(checkout), load_port(checkout, model))


def specs(question: str) -> dict[str, dict]:
    """The template's facts about each VAE or text encoder, by the answer; names of the port are left blank."""
    return hidden_answer(question, f"{question}_specs")


def hidden_answer(component: str, name: str = ""):
    """The default of a question that is never asked, from its file in components/."""
    questions = yaml.safe_load((PROJECT / f"components/{component}.yml").read_text(encoding="utf-8"))
    question = questions[name] if name else next(iter(questions.values()))
    default = question["default"]
    return yaml.safe_load(re.sub(r"{{.*?}}", "x", default)) if isinstance(default, str) else default


def compile_once(self, source, *arguments):
    # Copier compiles the same templates for every port. Its `yield` tag processes each source first, even if it is
    # compiled already.
    key = (self.preprocess(source), *arguments)
    if key not in _compiled:
        _compiled[key] = _compile(self, source, *arguments)
    return _compiled[key]


def _files(checkout: Path) -> list[Path]:
    folders = [checkout / "porting", checkout / "src/mflux/models", checkout / "tests"]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
