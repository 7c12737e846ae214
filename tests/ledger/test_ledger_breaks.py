"""mflux's own mappings, intact and broken one line at a time: the ledger names exactly the tensors that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.checkpoint.keylist import expand

from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

# The ledger's findings about the intact mappings of mflux 0.24.0; each is a fact of that release.
WHOLE = {
    "z_image vae": set(),
    "z_image transformer": set(),
    "z_image text_encoder": {("not filled", "rotary_emb.inv_freq")},
    "flux2_klein vae": set(),
    "flux2_klein transformer": set(),
    "flux2_klein text_encoder": {("not filled", "rotary_emb.inv_freq")},
    "qwen_image transformer": set(),
}
FLUX = "transformer_blocks.{0-4}.attn"
# For each break, the names that the ledger must report, and no others.
BROKEN = {
    "block count too small": ["transformer_blocks.4.attn.to_q.weight"],
    "block count too large": ["transformer_blocks.{5-6}.attn.to_q.weight"],
    "single block count too small": ["single_transformer_blocks.19.attn.to_out.weight"],
    "layer count too large": ["num_layers"],
    "q and k swapped": [f"{FLUX}.to_q.weight", f"{FLUX}.to_k.weight"],
    "norms swapped": [f"{FLUX}.norm_q.weight", f"{FLUX}.norm_k.weight"],
    "linears of other shapes swapped": ["x_embedder.weight", "context_embedder.weight"],
    "norms of the text encoder swapped": [
        "model.layers.{0-35}.input_layernorm.weight",
        "model.layers.{0-35}.post_attention_layernorm.weight",
    ],
    "k where q belongs": [f"{FLUX}.to_q.weight", f"{FLUX}.to_k.weight"],
    "misspelt source": ["proj_out.weight", "project_out.weight"],
    "misspelt destination": ["proj_out.weight"],
    "dropped weight": ["x_embedder.weight"],
    "dropped bias": ["quant_conv.bias"],
    "dropped bias in every block": ["transformer_blocks.{0-59}.attn.add_q_proj.bias"],
    "missing transpose": ["encoder.conv_out.weight"],
    "missing transpose hidden by the shape": ["encoder.conv_in.weight"],
    "transpose of a transposed convolution": ["decoder.conv_in.weight"],
    "square linear transposed": [f"{FLUX}.to_q.weight"],
    "transform that fails": ["proj_out.weight"],
    "two tensors for one parameter": ["x_embedder.weight", "proj_out.weight"],
    "one tensor for two parameters": ["norm_out.linear.weight", "proj_out.weight"],
    "a third of a fused tensor forgotten": ["layers.{0-29}.attention.to_q.weight"],
    "a table and a patch": [],
    "a patch in another order": [],
    "square table transposed": ["table.weight"],
    "a patch scrambled": ["patch.weight"],
    "fused and whole": [],
    "a third taken twice": ["layers.{0-29}.attention.qkv.weight"],
    "one third for all": ["layers.{0-29}.attention.qkv.weight"],
    "thirds in another order": ["layers.{0-29}.attention.qkv.weight"],
    "linears of other depths swapped": [f"{FLUX}.to_out.0.weight", f"{FLUX}.to_add_out.weight"],
    "numbers negated": ["model.layers.{0-35}.self_attn.q_norm.weight"],
    "numbers read": ["x_embedder.weight"],
    "a type that MLX refuses": ["x_embedder.weight"],
    "list within a list": ["proj_out.weight", "transformer"],
}
LAYER = ["input_layernorm", "post_attention_layernorm"]
LAYER += [f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")]
LAYER += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
BROKEN["layer count too small"] = [f"{at}layers.35.{name}.weight" for name in LAYER for at in ("", "model.")]


@pytest.fixture(scope="module")
def said(references, diffusers_python) -> dict:
    source = releases.source("0.24.0") / "src"
    done = run_in(diffusers_python, HERE / "mapping_breaks.py", references, source=source)
    return {name: {(kind, tensor) for kind, tensor in rows} for name, rows in json.loads(done).items()}


@pytest.mark.parametrize("component", WHOLE)
def test_intact_mapping_balances(said, component):
    assert said[component] == WHOLE[component]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named(said, name):
    usual = {"rotary_emb.inv_freq"}
    assert {tensor for _, tensor in said[name]} - usual == {tensor for line in BROKEN[name] for tensor in expand(line)}


def test_every_break_has_an_expectation(said):
    assert said.keys() - BROKEN.keys() == {*WHOLE, "qwen_image vae", "qwen_image text_encoder"}
    assert len(BROKEN) >= 20


def test_tensors_of_qwen_that_mflux_drops_are_named(said):
    dropped = {tensor for kind, tensor in said["qwen_image vae"] if kind == "not mapped"}
    assert dropped == {f"encoder.down_blocks.5.time_conv.{name}" for name in ("weight", "bias")}
    unread = {tensor for kind, tensor in said["qwen_image text_encoder"] if kind == "no such parameter"}
    assert len(unread) == 390 and all(name.startswith("visual.") for name in unread)
