"""A template with two versions and a checkout with a port, made once and copied for whoever changes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mflux_port.update.tree import end

from tests.update import template_versions
from tests.update.template_versions import BESIDE, NOVA, Scene, Template, git


@pytest.fixture(scope="session")
def first_version(tmp_path_factory) -> Path:
    """The template at v0.1.0. Nobody writes into it."""
    return Template.snapshot(tmp_path_factory.mktemp("first") / "template").home


@pytest.fixture(scope="session")
def started(first_version, pristine) -> Path:
    """mflux 0.24.0 with the port of nova, from v0.1.0 of the template beside it. Nobody writes into it."""
    root = shutil.copytree(pristine(), first_version.with_name("mflux"))
    template_versions.copy(BESIDE, root, "nova", "v0.1.0", **NOVA)
    return root


@pytest.fixture(scope="session")
def begin(tmp_path_factory, first_version, started) -> Callable[[], Scene]:
    """``begin()``: a template at v0.1.0 and a checkout with the port of nova, to write into."""

    def make() -> Scene:
        home = tmp_path_factory.mktemp("scene")
        copies = [shutil.copytree(path, home / path.name, symlinks=True) for path in (first_version, started)]
        return Scene(Template(copies[0]), copies[1])

    return make


@pytest.fixture
def scene(begin) -> Scene:
    return begin()


@pytest.fixture
def template(scene) -> Template:
    """The template at v0.1.0, to make further versions from."""
    return scene.template


@pytest.fixture
def port(scene) -> Path:
    """A checkout of one's own with the port of nova, which knows ``template`` as its source."""
    return scene.root


@pytest.fixture(scope="module")
def shared(begin) -> Scene:
    """What the tests of a module share."""
    return begin()


@pytest.fixture
def lent(shared) -> Iterator[Path]:
    """The shared checkout with the port of nova; what a test leaves there is taken back."""
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
