"""A template with two versions and a checkout with a port, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.update import template_versions
from tests.update.template_versions import Template


@pytest.fixture(scope="session")
def first_version(tmp_path_factory) -> Path:
    """The template at v0.1.0. Nobody writes into it."""
    return Template.snapshot(tmp_path_factory.mktemp("template")).home


@pytest.fixture(scope="session")
def started(tmp_path_factory, pristine, first_version) -> Path:
    """mflux 0.24.0 with the port of nova, from v0.1.0 of the template. Nobody writes into it."""
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("started") / "mflux")
    template_versions.copy(first_version, root, "nova", "v0.1.0")
    return root


@pytest.fixture
def template(tmp_path, first_version) -> Template:
    """The template at v0.1.0, to make further versions from."""
    return Template(shutil.copytree(first_version, tmp_path / "template"))


@pytest.fixture
def port(tmp_path, started, template) -> Path:
    """A checkout of one's own with the port of nova, which knows ``template`` as its source."""
    root = shutil.copytree(started, tmp_path / "mflux")
    template_versions.point_to(root, "nova", template.home)
    return root


@pytest.fixture
def fresh(tmp_path, pristine, template) -> Callable[..., Path]:
    """``fresh(*models)``: a checkout with fresh copies of the template's v0.2.0."""

    def make(*models: str) -> Path:
        root = shutil.copytree(pristine(), tmp_path / "fresh")
        for model in models:
            template_versions.copy(template.home, root, model, "v0.2.0")
        return root

    return make
