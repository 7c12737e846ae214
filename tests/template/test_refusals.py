"""Answers that contradict each other, or that the checkout does not support, are refused before a file is written."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from copier.errors import CopierError
from mflux_port.checkout import releases
from mflux_port.template.project import rendered_tests

from tests.template import rendering

EDIT = [{"key": "nova-retouch", "hf_repo": "acme/Nova-Retouch", "variant": "edit"}]
BOTH = ["txt2img", "edit"]


def _entry(**fields) -> dict:
    return {"checkpoints": [{"key": "nova", "hf_repo": "acme/Nova", **fields}]}


def _commands(*names: str, **more) -> dict:
    entries = [{"key": f"nova-{n}", "hf_repo": "acme/Nova", "cli_name": name} for n, name in enumerate(names)]
    return {"checkpoints": entries, **more}


REFUSED = [
    ("0.24.0", {"training": True, "lora": False}, "answer yes to lora"),
    ("0.24.0", {"guidance": 1.0, "negative_prompt": True}, "no checkpoint supports guidance"),
    ("0.24.0", {"checkpoints": EDIT}, "add edit to the variants"),
    ("0.24.0", {"checkpoints": EDIT, "variants": BOTH, "training": True}, "every checkpoint has the variant edit"),
    ("0.24.0", {"vae": "dc"}, "Invalid choice for 'vae'"),
    ("0.18.1", {"vae": "qwen21"}, "came with mflux 0.20; check out mflux 0.22 or later, or answer own"),
    ("0.18.1", {"text_encoder": "gemma2"}, "came with mflux 0.19; check out mflux 0.22 or later, or answer own"),
    ("0.18.0", {"text_encoder": "qwen3_vl"}, "came with mflux 0.18.1; check out mflux 0.18.1, 0.22 or later, or answer"),
    ("0.18.1", {"mflux_api": "0.24"}, "older than mflux 0.24"),
    ("0.20.0", {}, "came with mflux 0.22); answer no to lora"),
    ("0.24.0", {"checkpoints": [EDIT[0] | {"variant": "both"}]}, "a checkpoint has the variant both; add edit"),
    ("0.24.0", _entry(supports_guidance=False, guidance=4.0), "nova runs without guidance, which is 1.0"),
    ("0.24.0", _entry(guidance=float("nan")), "a number from 0 to 100"),
    ("0.24.0", _entry(aliases="nova-alias"), "aliases of nova must be a list"),
    ("0.24.0", _entry(transformer_overrides=[1]), "transformer_overrides of nova must be a mapping"),
    ("0.24.0", _entry(text_encoder_overrides="small"), "text_encoder_overrides of nova must be a mapping"),
    ("0.24.0", _entry(transformer_overrides={"num layers": 2}), "'num layers' in transformer_overrides of nova"),
    ("0.24.0", _entry(transformer_overrides={"class": 2}), "'class' in transformer_overrides of nova"),
    ("0.24.0", _entry(transformer_overrides={"sizes": {"num_layers": 2}}), "'sizes' in transformer_overrides of nova"),
    ("0.24.0", _entry(max_sequence_length=0), "max_sequence_length of nova"),
    ("0.24.0", _entry(max_sequence_length=512) | {"text_encoder": "clip"}, "takes at most 77 tokens"),
    ("0.24.0", _entry(sigma_base_shift=1.0) | {"scheduler": "flow_match_euler_discrete"}, "does not read sigma_base_shift"),
    ("0.24.0", _commands("nova-x", "nova-x"), "two entries have the same cli_name"),
    ("0.24.0", _commands("nova-edit", variants=BOTH), "mflux-generate-nova-edit already runs"),
    ("0.24.0", {"class_name": "Config"}, "a class of mflux's or Python's that the port uses"),
    ("0.24.0", {"class_name": "GeneratedImage"}, "a class of mflux's or Python's that the port uses"),
    ("0.24.0", {"class_name": "Flux2"}, "begins, a class of mflux's"),
]
SAME_FUNCTION = [{"key": "nova-b", "hf_repo": "acme/Nova"}, {"key": "nova.b", "hf_repo": "acme/Nova-B"}]
TWO_LENGTHS = [
    {"key": "nova", "hf_repo": "acme/Nova", "max_sequence_length": 256},
    {"key": "nova-b", "hf_repo": "acme/Nova-B"},
]
REFUSED += [
    ("0.24.0", {"checkpoints": SAME_FUNCTION}, "two keys make the same function"),
    ("0.24.0", {"checkpoints": TWO_LENGTHS}, "max_sequence_length differs"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return rendering.template_copy(tmp_path_factory.mktemp("refusals") / "template")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, pristine) -> Callable[[str], Path]:
    """One checkout per release, shared by all refusals, since none of them writes anything."""
    folder = tmp_path_factory.mktemp("refusals")
    return functools.cache(lambda release: shutil.copytree(pristine(release), folder / release))


@pytest.mark.parametrize(("release", "answers", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_contradicting_answers_are_refused(untouched, template, release, answers, told):
    root = untouched(release)
    with pytest.raises((ValueError, CopierError), match=re.escape(told)):
        rendering.render(template, root, {"model": "nova", **answers})
    assert not (root / "porting").exists()
    assert not (root / "src/mflux/models/nova").exists()


def test_existing_files_are_not_overwritten(untouched, template):
    root = untouched(releases.NEWEST)
    package = "src/mflux/models/nova"
    assert len(rendered_tests("nova")) == 13
    for name in [*rendered_tests("nova"), f"{package}/notes.txt", f"{package}/cli/old/run.sh"]:
        mine = root / name
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(ValueError, match=re.escape(mine.relative_to(root).as_posix())):
            rendering.render(template, root, {"model": "nova"})
        assert mine.read_text() == "mine"
        mine.unlink()
    shutil.rmtree(root / "src/mflux/models/nova")


def test_compiled_leftovers_of_an_earlier_port_are_ignored(checkout, template):
    root = checkout(releases.NEWEST)
    left = root / "src/mflux/models/nova/cli/__pycache__/nova_generate.cpython-312.pyc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    assert rendering.render(template, root, {"model": "nova"})


@pytest.mark.parametrize("release", ("0.18.0", "0.18.1", "0.22.0", "0.23.0", "0.24.0"))
def test_components_name_the_release_that_introduced_them(release):
    lacking = {}
    for question in ("vae", "text_encoder"):
        for name, spec in rendering.specs(question).items():
            module = releases.source(release) / f"src/{spec['module'].replace('.', '/')}.py"
            if name != "own" and not module.is_file():
                lacking[name] = spec["since"]
    numbers = {name: tuple(map(int, since.split("."))) for name, since in lacking.items() if since}
    assert numbers.keys() == lacking.keys()
    assert all(since > tuple(map(int, release.split("."))) for since in numbers.values()), lacking
