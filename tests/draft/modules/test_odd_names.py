"""Names that cannot be in a list, an attribute or a pattern of mflux: refused in one line, or in
the unresolved list.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.checkpoint.keylist import keylist_text, read_keylist, snapshot
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft.component import draft_component
from mflux_port.draft.tree.from_reference import _verify_counts
from mflux_port.draft.write.class_source import _TAKEN
from mflux_port.errors import PortError
from mflux_port.port.port import port_from_answers

from tests.checkpoint.files import write_header
from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

ANSWERS = {
    "model": "nova", "class_name": "Nova", "display_name": "Nova", "cli_name": "nova", "hf_repo": "acme/Nova",
    "reference_pipeline": "NovaPipeline", "steps": 4, "guidance": 1.0, "supports_guidance": False, "vae": "own",
    "text_encoder": "own", "scheduler": "own", "variants": ["txt2img"], "img2img": True, "negative_prompt": False,
    "lora": True, "training": False, "mflux_api": "0.24", "checkpoints": [{"key": "nova", "hf_repo": "acme/Nova"}],
}  # fmt: skip
MATRIX = (4, 4)


def drafted(folder, names):
    write_header(folder / "transformer" / "diffusion_pytorch_model.safetensors", dict.fromkeys(names, MATRIX))
    checkpoint = open_checkpoint(str(folder))
    return draft_component(checkpoint.components["transformer"], "transformer", port_from_answers(ANSWERS)), checkpoint


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["blocks.².w.weight", "blocks.³.w.weight"], "as a number and writes that number differently"),
        (["blocks.00.w.weight", "blocks.01.w.weight"], "as a number and writes that number differently"),
        (["blocks.1.w.weight", "blocks.01.w.weight"], "makes a list of numbered names"),
        (["parts.0.weight", "parts.x.weight"], "makes a list of numbered names"),
        (["a.{block}.w.weight"], "would replace its braces with numbers"),
    ],
)
def test_a_name_that_mflux_cannot_map_is_unresolved(diffusers_folder, names, why):
    draft, checkpoint = drafted(diffusers_folder, names)
    assert {entry.name for entry in draft.unresolved} == set(names) and not draft.mapping.targets
    assert all(why in entry.why for entry in draft.unresolved)
    taken, path = snapshot(checkpoint), diffusers_folder / "keys.txt"
    path.write_text(keylist_text(taken), encoding="utf-8")
    assert read_keylist(path).tensors == taken.tensors


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"blocks.{'9' * 5000}.weight"], "is not a valid tensor name"),
        (["0.weight", "2.conv.0.weight"], "begin with a number"),
    ],
)
def test_a_name_that_no_module_can_have_is_refused(diffusers_folder, names, words):
    with pytest.raises(PortError, match=words):
        drafted(diffusers_folder, names)


@pytest.mark.parametrize("names", [["weight"], ["weight", "bias"], ['a."x.weight', "b'y.weight"]])
def test_a_root_of_any_kind_becomes_a_class(diffusers_folder, names):
    draft, _ = drafted(diffusers_folder, names)
    assert "class NovaTransformer(nn.Module)" in draft.files["transformer"]
    assert {target.from_pattern for target in draft.mapping.targets} == set(names)


def test_names_of_module_attributes_are_set_as_keys(diffusers_folder):
    draft, _ = drafted(diffusers_folder, ["attn.keys.weight", "attn.values.weight", "attn.queries.weight"])
    assert 'self["keys"] = nn.Linear' in draft.files["attn"] and "self.queries = nn.Linear" in draft.files["attn"]


@pytest.mark.parametrize("release", ["0.24.0", pytest.param("0.18.1", marks=pytest.mark.full)])
def test_every_public_name_of_a_module_is_known(release):
    source = releases.source(release) / "src"
    names = json.loads(run_in(releases.environment(release), HERE / "module_names.py", source=source))
    assert set(names) <= _TAKEN


@pytest.mark.parametrize("name", ["num_layers", "n_layers", "num_res_blocks", "layers_per_block", "depth"])
def test_block_count_is_limited_by_the_tensors(diffusers_folder, name):
    _, checkpoint = drafted(diffusers_folder, ["a.weight"])
    part = checkpoint.components["transformer"]
    part.config = {name: 1000}
    _verify_counts(part)
    for count in (10**9, 1e300):
        part.config = {"text_config": {name: count}}
        with pytest.raises(PortError, match=f"says {name} .* and the checkpoint has 1 tensors"):
            _verify_counts(part)
