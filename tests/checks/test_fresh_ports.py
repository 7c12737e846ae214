"""A freshly rendered port has no failing row. tests/template/test_cover.py tests every pair of answers."""

from __future__ import annotations

import shutil

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.run_rules import check, failures

from tests.template.rendering import render, template_copy, wire

DISTILLED = {"guidance": 1.0, "steps": 4, "supports_guidance": False}
OWN = {"vae": "own", "text_encoder": "own", "scheduler": "own"}
PORTS = {
    "two answers": {},
    "distilled alone, trained": {**DISTILLED, "training": True},
    "distilled alone, edits": {**DISTILLED, "variants": ["txt2img", "edit"]},
    "edits alone": {
        "variants": ["txt2img", "edit"],
        "checkpoints": [{"key": "eta-edit", "hf_repo": "acme/Eta-Edit", "variant": "edit"}],
    },
    "own components, edit, training": {**OWN, "training": True, "variants": ["txt2img", "edit"]},
    "only text to image": {**OWN, **dict.fromkeys(("img2img", "lora", "training", "negative_prompt"), False)},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return template_copy(tmp_path_factory.mktemp("template"))


@pytest.mark.parametrize(
    "release", ["0.24.0", *(pytest.param(name, marks=pytest.mark.full) for name in ("0.22.0", "0.18.1"))]
)
def test_fresh_port_has_no_failing_row(template, pristine, tmp_path, release):
    root = shutil.copytree(pristine(release), tmp_path / "mflux")
    assert _failing(template, root, {f"zeta{number}": given for number, given in enumerate(PORTS.values())}) == []


def test_training_added_later_leaves_only_the_readme_to_write(template, pristine, tmp_path):
    """As docs/train.md says, an update changes all files except the model's README."""
    root = shutil.copytree(pristine("0.24.0"), tmp_path / "mflux")
    answers = {**DISTILLED, "hf_repo": "acme/zeta", "model": "zeta"}
    render(template, root, answers)
    wire(root, "zeta")
    readme = root / "src/mflux/models/zeta/README.md"
    written = readme.read_text()
    render(template, root, {**answers, "training": True})
    wire(root, "zeta")
    readme.write_text(written)
    assert [(row.rule, row.detail) for row in failures(check(Checkout(root), ["zeta"]))] == [
        ("DOC12", "no heading Training")
    ]


def _failing(template, root, ports: dict[str, dict]) -> list[tuple]:
    for model, given in ports.items():
        render(template, root, {"hf_repo": f"acme/{model}", **given, "model": model})
        wire(root, model)
    rows = check(Checkout(root), list(ports))
    assert {row.model for row in rows} == set(ports)
    return [(row.model, row.rule, row.detail) for row in failures(rows)]
