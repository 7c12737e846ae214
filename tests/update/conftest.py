"""Fixtures: a template with two versions and a checkout with a port, made once and copied for tests that write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mflux_port.checkout.lock import exclusive
from mflux_port.update import apply
from mflux_port.update.renderings import Renderings, render_both
from mflux_port.update.steps import REPORT, run_step
from mflux_port.update.tree import end, verify_clean

from tests.update import template_versions
from tests.update.second_version import CONVENTIONS, change_conventions
from tests.update.template_versions import ANSWERS, BESIDE, NOVA, Scene, Template, edit, git, releases


@pytest.fixture(scope="session")
def first_version(tmp_path_factory) -> Path:
    """The template at v0.1.0. Read-only."""
    return Template.snapshot(tmp_path_factory.mktemp("first") / "template").home


@pytest.fixture(scope="session")
def started(first_version, pristine) -> Path:
    """mflux 0.24.0 with the port of nova, from v0.1.0 of the template next to it. Read-only."""
    root = shutil.copytree(pristine(), first_version.with_name("mflux"))
    template_versions.copy(BESIDE, root, "nova", "v0.1.0", **NOVA)
    return root


@pytest.fixture(scope="session")
def begin(tmp_path_factory, first_version, started) -> Callable[[], Scene]:
    """``begin()``: a template at v0.1.0 and a writable checkout with the port of nova."""

    def make() -> Scene:
        home = tmp_path_factory.mktemp("scene")
        copies = [shutil.copytree(path, home / path.name, symlinks=True) for path in (first_version, started)]
        return Scene(Template(copies[0]), copies[1])

    return make


@pytest.fixture(scope="session")
def small(tmp_path_factory, pristine) -> Scene:
    """A port with edits in ten files, and a smaller template that has a v0.2.0. Read-only."""
    template = Template.snapshot(tmp_path_factory.mktemp("small") / "template")
    template.shrink()
    root = shutil.copytree(pristine(), template.home.with_name("mflux"))
    template_versions.copy(template.home, root, "nova", "v0.1.0", vae="flux2", text_encoder="qwen3", lora="false")
    edit(root, CONVENTIONS)
    releases.commit(root, "Edits")
    change_conventions(template)
    template.tag("v0.2.0")
    return Scene(template, root)


@pytest.fixture(scope="session")
def renderings(small) -> Renderings:
    """The files that both versions render for the port of ``small``."""
    return render_both(small.root, "nova", small.template.home, "v0.1.0")


@pytest.fixture
def merge_only(small, renderings, monkeypatch, tmp_path) -> Callable[..., dict]:
    """``merge_only(root)``: run the steps of an update without Copier; returns the report of the last step.

    ``between`` are the versions between the port's and the update's.
    """

    def run(root: Path, renderings: Renderings = renderings, between: tuple[str, ...] = ("v0.2.0",)) -> dict:
        report = tmp_path / "report.json"
        for name, value in {REPORT: str(report), "VERSION_FROM": "v0.1.0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(apply, "render_both", lambda *ignored: renderings)
        arguments = [ANSWERS.format(model="nova")]
        template = str(small.template.home)
        with exclusive(root):
            verify_clean(root)
        migrations = [("migrate", [version]) for version in between]
        for step, more in (("check", ["{}", template]), ("plan", [template]), *migrations, ("finish", [template])):
            if step == "finish":
                answers = root / arguments[0]
                answers.write_bytes(answers.read_bytes().replace(b"\r\n", b"\n").replace(b"v0.1.0", b"v0.2.0"))
            if run_step(root, step, *arguments, *more):
                break
        end(root)
        return json.loads(report.read_text())

    return run


@pytest.fixture
def scene(begin) -> Scene:
    return begin()


@pytest.fixture
def template(scene) -> Template:
    """The template at v0.1.0, from which tests make further versions."""
    return scene.template


@pytest.fixture
def port(scene) -> Path:
    """A checkout for one test with the port of nova, which knows ``template`` as its source."""
    return scene.root


@pytest.fixture(scope="module")
def shared(begin) -> Scene:
    """The checkout that the tests of a module share."""
    return begin()


@pytest.fixture
def lent(shared) -> Iterator[Path]:
    """The shared checkout with the port of nova; what a test leaves there is reset."""
    head = git(shared.root, "rev-parse", "HEAD").strip()
    yield shared.root
    git(shared.root, "reset", "--hard", "--quiet", head)
    git(shared.root, "clean", "-d", "--force", "--quiet")
    end(shared.root)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory, pristine) -> Callable[..., dict[str, bytes]]:
    """``fresh(template, version, nova={…})``: the files of a checkout with fresh copies, of those answers."""

    def make(template: Template, version: str, **models: dict) -> dict[str, bytes]:
        root = shutil.copytree(pristine(), tmp_path_factory.mktemp("fresh") / "mflux")
        shutil.copytree(template.home, root.with_name("template"))
        for model, answers in models.items():
            template_versions.copy(BESIDE, root, model, version, **answers)
        return template_versions.tree(root)

    return make
