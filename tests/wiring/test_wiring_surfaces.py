"""Every surface by itself: before, after, a second run, and back."""

from __future__ import annotations

import ast

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.wiring.surfaces import SURFACES, model_config
from surface_texts import TEXTS
from wiring_hosts import AMBER, NOVA, ZULU, port


@pytest.mark.parametrize(("version", "file", "before", "after"), [pytest.param(*t[1:], id=t[0]) for t in TEXTS])
def test_surface_before_and_after(version: str, file: str, before: str, after: str, shared):
    root = shared(version)
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(before)
    for _ in range(2):
        for answers in (AMBER, ZULU):
            wiring.wire(Checkout(root), port(answers))
        assert path.read_text() == after
    for answers in (AMBER, ZULU):
        wiring.unwire(Checkout(root), port(answers))
    assert path.read_text() == before


def test_every_surface_has_an_example():
    told = " ".join(text[0] for text in TEXTS)
    assert [surface.ID for surface in SURFACES if surface.ID not in told] == ["training_example"]


def test_training_example_is_a_separate_file(shared):
    root = shared()
    path = root / "src/mflux/models/common/training/_example/train_nova_image.json"
    wiring.wire(Checkout(root), port(NOVA))
    assert '"model": "nova-2.1-base"' in path.read_text()  # a distilled checkpoint is not trained
    assert '"end": 4' in path.read_text()
    wiring.unwire(Checkout(root), port(NOVA))
    assert not path.exists()


def test_long_lines_are_wrapped_as_mflux_wraps_them(shared):
    root = shared()
    repo = "a-very-long-organisation-name/A-Very-Long-Model-Name"
    checkpoints = [
        {
            "key": "long",
            "hf_repo": repo,
            "aliases": [f"a-very-long-model-name-number-{n}" for n in range(4)],
            "transformer_overrides": {f"a_rather_long_dimension_{n}": n for n in range(5)},
        }
    ]
    wiring.wire(Checkout(root), port(AMBER, hf_repo=repo, checkpoints=checkpoints))
    text = (root / "src/mflux/models/common/config/model_config.py").read_text()
    assert '        aliases=[\n            "long",\n            "a-very-long-model-name-number-0",\n' in text
    assert '        transformer_overrides={\n            "a_rather_long_dimension_0": 0,\n' in text
    assert max(map(len, text[text.index('    "long": ModelConfig(') :].splitlines())) <= 120


def test_strings_of_the_answers_are_escaped():
    evil = "x\"]}\\ ''' {{ 7 }} ); import os #"
    value = [evil, {"a": evil}]
    assert ast.literal_eval(model_config.literal(value)) == value


@pytest.mark.parametrize(
    ("file", "surface"),
    [
        ("README.md", "readme_table"),
        ("CHANGELOG.md", "changelog"),
        (".gitignore", "gitignore"),
        ("src/mflux/models/common/training/runner.py", "training_runner"),
        ("src/mflux/models/common/checking/model_checker.py", "model_checker"),
    ],
)
def test_a_missing_optional_file_is_not_applicable(file: str, surface: str, shared):
    root = shared()
    (root / file).unlink()
    results = {result.surface: result for result in wiring.wire(Checkout(root), port(NOVA))}
    assert results[surface].state == "not applicable"
    assert f"{file} does not exist" in results[surface].detail
    assert not (root / file).exists()
