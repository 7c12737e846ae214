"""Drafts of Z-Image, FLUX.2 Klein and Qwen-Image against mflux's own mappings, tiny and full size, sharded and not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

PARTS = [
    f"{family}-{size} {part}"
    for family in ("z_image", "flux2_klein", "qwen_image")
    for size in ("full", "tiny")
    for part in ("transformer", "text_encoder", "vae")
]
# Tensors that mflux 0.24.0 drops silently; the reference has modules for them.
DROPPED = {f"encoder.down_blocks.5.time_conv.{name}" for name in ("weight", "bias")}
# A training counter, and an output head that no prompt needs.
WAIVED = {"flux2_klein vae": ["bn.num_batches_tracked"], "qwen_image text_encoder": ["lm_head.weight"]}
SOURCE = "0.24.0"


def run_drafts(references, python, scratch, *options) -> dict:
    script = HERE / "draft_agreement.py"
    return json.loads(run_in(python, script, references, scratch, *options, source=releases.source(SOURCE) / "src"))


@pytest.fixture(scope="module")
def from_reference(references, diffusers_python, tmp_path_factory) -> dict:
    return run_drafts(references, diffusers_python, tmp_path_factory.mktemp("drafts"))


@pytest.fixture(scope="module")
def from_header(references, diffusers_python, tmp_path_factory) -> dict:
    return run_drafts(references, diffusers_python, tmp_path_factory.mktemp("drafts"), "header")


def check(facts: dict, part: str) -> None:
    assert facts["wrong"] == [] and facts["missed"] == [] and facts["names"] == []
    waived = WAIVED.get(part.replace("-tiny", "").replace("-full", ""), [])
    # Only the reference's classes show that a matrix is an output head.
    assert facts["waived"] == [name for name in waived if facts["certain"] or name != "lm_head.weight"]
    assert set(facts["only drafted"]) <= (DROPPED if part.startswith("qwen_image") and part.endswith("vae") else set())
    # The ledger has no open findings except those that the draft itself calls unresolved.
    assert {name for _, name in facts["open"]} <= set(facts["unresolved"])


@pytest.mark.full
@pytest.mark.parametrize("part", PARTS)
def test_a_draft_from_the_reference_agrees_with_mflux(from_reference, part):
    facts = from_reference[part]
    check(facts, part)
    assert facts["certain"] and facts["agree"] >= 0.98 * facts["tensors"]
    assert facts["unresolved"] == []
    assert facts["loaded"] == facts["tensors"] - len(facts["waived"])


@pytest.mark.parametrize("part", PARTS)
def test_a_draft_from_the_header_alone_is_never_wrong(from_header, part):
    facts = from_header[part]
    check(facts, part)
    assert not facts["certain"] and facts["loaded"] == facts["tensors"] - len(facts["waived"])
    if not part.endswith("vae"):
        # For square convolutions, which VAEs have, only the reference shows the order of the axes.
        assert facts["agree"] >= 0.96 * facts["tensors"]


def test_block_counts_equal_the_checkpoints(from_header):
    assert from_header["z_image-full transformer"]["numbers"] == [2, 30]
    assert from_header["flux2_klein-full transformer"]["numbers"] == [5, 20]
    assert from_header["qwen_image-full transformer"]["numbers"] == [60]
    assert from_header["qwen_image-tiny transformer"]["numbers"] == [2]


@pytest.fixture(scope="module")
def further(diffusers_python, tmp_path_factory) -> dict:
    scratch = tmp_path_factory.mktemp("further")
    return json.loads(
        run_in(diffusers_python, HERE / "more_drafts.py", scratch, source=releases.source(SOURCE) / "src")
    )


@pytest.mark.full
def test_further_classes_load_strictly(further):
    assert len(further) >= 20
    for name, facts in further.items():
        assert facts.get("error") is None, f"{name}: {facts}"
        assert facts["certain"] and facts["open"] == [], name
        assert facts["loaded"] == facts["tensors"], name
        assert facts["wide"] == [], name
    # torch's RMSNorm without an eps uses the machine epsilon of its input's type.
    assert {name: facts["unresolved"] for name, facts in further.items() if facts["unresolved"]} == {
        "ChromaTransformer2DModel": [f"distilled_guidance_layer.norms.{place}" for place in range(5)]
    }
    # One class per reference class; more only where the reference builds one class in several ways.
    assert {name: facts["numbers"] for name, facts in further.items() if facts["numbers"]} == {
        "Lumina2Transformer2DModel": ["transformer_block_2"],
        "SD3Transformer2DModel": ["joint_transformer_block_2"],
        "AutoencoderKLMochi": [f"{way}_block3d_{number}" for way in ("down", "up") for number in (2, 3)],
    }


@pytest.mark.full
def test_a_plain_layer_of_a_draft_computes_what_the_reference_computes(further):
    assert {name: facts["unlike"] for name, facts in further.items() if facts["unlike"]} == {}
    # Layers whose class computes something other than the layer of mlx.nn that holds its arrays.
    assert {name: facts["own"] for name, facts in further.items() if facts["own"]} == {
        "Gemma2Model": ["Gemma2TextScaledWordEmbedding"],
        "Gemma3ForCausalLM": ["Gemma3TextScaledWordEmbedding"],
        "AutoencoderKLMochi": ["CogVideoXSafeConv3d"],
        "AutoencoderKLWan": ["WanCausalConv3d"],
    }


@pytest.mark.full
def test_lora_targets_are_the_linears_of_the_blocks(further):
    parts = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.0.proj", "ff.net.2"]
    added = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]
    double = [*parts, *added, "ff_context.net.0.proj", "ff_context.net.2"]
    single = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"]
    for name in ("FluxTransformer2DModel", "ChromaTransformer2DModel"):
        wanted = {f"transformer_blocks.{{block}}.{part}" for part in double}
        wanted |= {f"single_transformer_blocks.{{block}}.{part}" for part in single}
        listed = set(further[name]["lora"])
        assert {path for path in listed if not path.startswith("distilled")} == wanted, name
    # The last block has no output for the text.
    assert "transformer_blocks.{block}.attn.to_add_out" in further["SD3Transformer2DModel"]["lora"]
