"""`mflux-port ledger --lora`: the convention of a file, what matches, what does not, what to add."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.ledger.lora_keys import conventions, parse_key

from tests.checkpoint.files import write_header, write_typed
from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

LAYER = "transformer_blocks.3.attn.to_q"
KOHYA = LAYER.replace(".", "_")
SPELLINGS = {
    "diffusers": [f"transformer.{LAYER}.lora_A.weight", f"transformer.{LAYER}.lora_B.weight"],
    "PEFT": [f"base_model.model.{LAYER}.lora_A.weight", f"base_model.model.{LAYER}.lora_B.weight"],
    "PEFT .default": [f"base_model.model.{LAYER}.lora_A.default.weight", f"{LAYER}.lora_B.default.weight"],
    "kohya": [f"lora_unet_{KOHYA}.lora_down.weight", f"lora_unet_{KOHYA}.lora_up.weight", f"lora_unet_{KOHYA}.alpha"],
    "diffusion_model.": [f"diffusion_model.{LAYER}.lora_A.weight", f"diffusion_model.{LAYER}.lora_up.weight"],
    "bare": [f"diffusion_model.{LAYER}.lora_A", f"{LAYER}.lora_B"],
    "LoKr": [f"lycoris_{KOHYA}.lokr_w1", f"diffusion_model.{LAYER}.lokr_w2_a", f"lycoris_{KOHYA}.alpha"],
    "no prefix": [f"{LAYER}.lora_A.weight"],
    "LoHa": [f"lora_unet_{KOHYA}.hada_w1_a", f"diffusion_model.{LAYER}.hada_w2_b", f"{LAYER}.hada_t1"],
    "OFT": [f"lora_unet_{KOHYA}.oft_blocks", f"transformer.{LAYER}.oft_R.default.weight", f"{LAYER}.boft_R"],
    "GLoRA": [f"lora_unet_{KOHYA}.a1.weight", f"lora_unet_{KOHYA}.b2.weight", f"{LAYER}.bm1.weight"],
    "IA3": [f"lora_unet_{KOHYA}.on_input", f"base_model.model.{LAYER}.ia3_l", f"{LAYER}.ia3_l.default"],
    "LyCORIS norm": [f"lora_unet_{KOHYA}.w_norm", f"lora_unet_{KOHYA}.b_norm", f"lycoris_{KOHYA}.w_norm"],
    "unknown": [f"{LAYER}.weight", "weight", f"{LAYER}.gain"],
}
TEXT = [
    "text_encoder.layers.0.q_proj.lora_A.weight", "base_model.model.text_encoder_2.layers.0.q_proj.lora_B.weight",
    "text_encoders.qwen3_4b.transformer.model.layers.0.q_proj.lora_A.weight", "lora_te_layers_0_q_proj.lora_down.weight",
    "lora_te2_layers_0_q_proj.alpha", "lora_t5xxl_encoder_block_0_q.lora_up.weight", "lora_te1_layers_0_q_proj.lokr_w1",
    "cond_stage_model.transformer.layers.0.q_proj.lora_A.weight", "lora_te1_layers_0_q_proj.hada_w1_a",
]  # fmt: skip


@pytest.mark.parametrize("name", TEXT)
def test_key_of_a_text_encoder_is_recognized(name):
    key = parse_key(name)
    assert key.of_text_encoder and f"{key.prefix}{key.path}{key.ending}" == name
    assert not parse_key(f"transformer.{LAYER}.lora_A.weight").of_text_encoder


@pytest.mark.parametrize("convention", SPELLINGS)
def test_convention_is_recognized(convention):
    keys = [parse_key(name) for name in SPELLINGS[convention]]
    assert set(conventions(keys)) == {convention}
    for key in keys:
        if convention != "unknown":
            assert key.path.replace(".", "_") == KOHYA and f"{key.prefix}{key.path}{key.ending}" == key.name


@pytest.mark.parametrize("ending", ["dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.default.weight"])
def test_dora_is_recognized_next_to_its_matrices(ending):
    names = [f"transformer.{LAYER}.{ending}", *SPELLINGS["diffusers"]]
    keys = [parse_key(name) for name in names]
    assert conventions(keys) == {"DoRA": 1, "diffusers": 2} and keys[0].path == LAYER


WIDTH, RANK = 3072, 4


def lora(path: str, down: str, up: str, out: int = WIDTH, inner: int = WIDTH) -> dict:
    return {f"{path}.{down}": (RANK, inner), f"{path}.{up}": (out, RANK)}


def lokr(layer: str = "to_q", **factors) -> dict:
    return {f"diffusion_model.transformer_blocks.0.attn.{layer}.{name}": shape for name, shape in factors.items()}


DOUBLE = [f"transformer_blocks.{block}.attn.to_{name}" for block in range(5) for name in "qkv"]
FILES = {
    "diffusers": {
        k: s for path in DOUBLE for k, s in lora(f"transformer.{path}", "lora_A.weight", "lora_B.weight").items()
    },
    "default": {
        k: s
        for path in DOUBLE
        for k, s in lora(f"base_model.model.{path}", "lora_A.default.weight", "lora_B.default.weight").items()
    },
    "kohya": {
        k: s
        for path in DOUBLE
        for k, s in lora(f"lora_unet_{path.replace('.', '_')}", "lora_down.weight", "lora_up.weight").items()
    },
    "mixed": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | lora(f"lora_unet_{DOUBLE[1].replace('.', '_')}", "lora_down.weight", "lora_up.weight"),
    "new prefix": {
        k: s for path in DOUBLE for k, s in lora(f"my_model.{path}", "lora_A.weight", "lora_B.weight").items()
    },
    "wrong width": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight", inner=64),
    "half": {f"transformer.{DOUBLE[0]}.lora_A.weight": (RANK, WIDTH)},
    "too many blocks": lora("transformer.transformer_blocks.7.attn.to_q", "lora_A.weight", "lora_B.weight"),
    "dora": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | {f"transformer.{DOUBLE[0]}.lora_magnitude_vector": (WIDTH,)},
    "lokr": lokr(lokr_w1=(8, 8), lokr_w2=(384, 384), alpha=()),
    "lokr factors": lokr(lokr_w1=(8, 8), lokr_w2_a=(384, 4), lokr_w2_b=(4, 384), alpha=()),
    "lokr half": lokr(lokr_w1=(8, 8), alpha=()),
    "lokr wrong": lokr(lokr_w1=(8, 8), lokr_w2=(3, 5)),
    "lokr lacks b": lokr(lokr_w1=(8, 8), lokr_w2_a=(384, 4)),
    "lokr turned": lokr(lokr_w1=(8, 4), lokr_w2=(384, 768), alpha=())
    | lokr("to_k", lokr_w1=(8, 8), lokr_w2=(768, 192)),
    "text encoder": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | lora("text_encoder.layers.0.self_attn.q_proj", "lora_A.weight", "lora_B.weight"),
    "twice": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | lora(f"diffusion_model.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight"),
    "patch": {"own.0.norm_q.diff": (128,)},
    "patch of a matrix": {"own.0.to_q.diff": (WIDTH, WIDTH)},
    "patch of no bias": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | {"own.0.to_q.diff_b": (WIDTH,)},
    "patch of another size": {"own.0.norm_q.diff": (64,)},
    "loha": {
        f"lora_unet_{DOUBLE[0].replace('.', '_')}.{n}": s
        for n, s in {
            "hada_w1_a": (WIDTH, 4),
            "hada_w1_b": (4, WIDTH),
            "hada_w2_a": (WIDTH, 4),
            "hada_w2_b": (4, WIDTH),
        }.items()
    },
    "oft": {f"transformer.{DOUBLE[0]}.oft_R.weight": (8, 73536)},
    "glora": {f"lora_unet_{DOUBLE[0].replace('.', '_')}.{name}.weight": (4, 4) for name in ("a1", "a2", "b1", "b2")},
    "whole difference": {f"diffusion_model.{DOUBLE[0]}.diff": (WIDTH, WIDTH)},
    "embedding": lora(f"transformer.{DOUBLE[0]}", "lora_A.weight", "lora_B.weight")
    | {"bundle_emb.word.clip_l": (2, 768), "bundle_emb.word.t5xxl": (2, 4096)},
    "convolution": lora(f"lora_unet_{DOUBLE[0].replace('.', '_')}", "lora_down.weight", "lora_up.weight")
    | {f"lora_unet_{DOUBLE[0].replace('.', '_')}.lora_mid.weight": (4, 4, 3, 3)},
    "no numbers": {
        f"transformer.{DOUBLE[0]}.lora_A.weight": (0, WIDTH),
        f"transformer.{DOUBLE[0]}.lora_B.weight": (WIDTH, 0),
    },
    "two alphas": lora(f"lora_unet_{DOUBLE[0].replace('.', '_')}", "lora_down.weight", "lora_up.weight")
    | {f"lora_unet_{DOUBLE[0].replace('.', '_')}.alpha": (2,)},
    "nothing": {},
    "fused": lora("diffusion_model.my_blocks.2.attn.qkv", "lora_A.weight", "lora_B.weight", out=3 * WIDTH),
}


A, B = (
    "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
    "transformer.transformer_blocks.0.attn.to_q.lora_B.weight",
)
ALPHA = "transformer.transformer_blocks.0.attn.to_q.alpha"
PAIR = {A: ("BF16", (RANK, WIDTH)), B: ("BF16", (WIDTH, RANK))}
KOHYA_PAIR = {f"lora_unet_{DOUBLE[0].replace('.', '_')}.{name}": entry
              for name, entry in {"lora_down.weight": PAIR[A], "lora_up.weight": PAIR[B]}.items()}  # fmt: skip


def peft(**config) -> dict:
    return {"lora_adapter_metadata": json.dumps(config)}


DORA = {"dora.0.to_v.lokr_w1": ("F32", (8, 8)), "dora.0.to_v.lokr_w2_a": ("F32", (384, RANK)),
        "dora.0.to_v.lokr_w2_b": ("F32", (RANK, 384)), "dora.0.to_v.dora_scale": ("F32", (WIDTH, 1)),
        "dora.0.to_v.alpha": ("F32", ())}  # fmt: skip


def lokr_of() -> dict:
    return {name: ("BF16", shape) for name, shape in lokr(lokr_w1=(8, 8), lokr_w2=(384, 384)).items()}


# Name -> tensors by type, metadata, adapter_config.json; the words of the finding; no words if the file passes.
TYPED = {
    "fp8": ({A: ("F8_E4M3", (RANK, WIDTH)), B: ("F8_E4M3", (WIDTH, RANK))}, {}, None, "quantized weights: F8_E4M3 without scales"),
    "fp8 of the other kind": ({A: ("F8_E5M2", (RANK, WIDTH)), B: PAIR[B]}, {}, None, "quantized weights: F8_E5M2 without scales"),
    "int8": ({A: ("I8", (RANK, WIDTH)), B: ("I8", (WIDTH, RANK))}, {}, None, "quantized weights: I8 of an unknown scheme"),
    "double": ({A: ("F64", (RANK, WIDTH)), B: PAIR[B]}, {}, None, "convert the file to BF16"),
    "half": ({A: ("F16", (RANK, WIDTH)), B: ("F16", (WIDTH, RANK))}, {}, None, ""),
    "single": ({A: ("F32", (RANK, WIDTH)), B: ("F32", (WIDTH, RANK))}, {}, None, ""),
    "whole alpha": (KOHYA_PAIR | {f"lora_unet_{DOUBLE[0].replace('.', '_')}.alpha": ("I64", ())}, {}, None, ""),
    "network_alpha": (PAIR, {"network_alpha": "32"}, None, "sets a scale of 8 in 1 layer; this mflux applies 1, 0.125 times that"),
    "lora_alpha": (PAIR, {"lora_alpha": "1"}, None, "sets a scale of 0.25 in 1 layer; this mflux applies 1, 4 times that"),
    "ss_network_alpha": (KOHYA_PAIR, {"ss_network_alpha": "2.0", "ss_network_dim": "4"}, None, "run with a LoRA scale of 0.5, or"),
    "ss_network_alpha of none": (KOHYA_PAIR, {"ss_network_alpha": "None"}, None, ""),
    "network_alpha of rank": (PAIR, {"network_alpha": "4.0"}, None, ""),
    "network_alpha beside tensors": (
        KOHYA_PAIR | {f"lora_unet_{DOUBLE[0].replace('.', '_')}.alpha": ("F32", ())}, {"ss_network_alpha": "32"}, None, ""),
    "adapter_config": (PAIR, {}, {"r": 4, "lora_alpha": 8}, "sets a scale of 2 in 1 layer; this mflux applies 1, 0.5 times that"),
    "adapter_config with rslora": (PAIR, {}, {"r": 4, "lora_alpha": 8, "use_rslora": True}, "a scale of 4 in 1 layer"),
    "adapter_config with a pattern": (PAIR, {}, {"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn.to_q": 1}}, "a scale of 0.25"),
    "adapter_config of rank": (PAIR, {}, {"r": 4, "lora_alpha": 4}, ""),
    "config in metadata": (PAIR, {"lora_config": json.dumps({"r": 4, "lora_alpha": 32})}, None, "lora_config: its alpha sets a scale of 8"),
    "config under another name": (PAIR, {"peft_config": json.dumps({"r": 4, "lora_alpha": 2})}, None, "a scale of 0.5 in 1 layer"),
    "notes that mention alpha": (PAIR, {"notes": '{"alpha channel": true}', "more": '{"alpha": "none"}', "x": "{alpha"}, None, ""),
    "lokr": (lokr_of(), {}, {"peft_type": "LOKR", "r": 8, "alpha": 32}, "a scale of 4 in 1 layer; this mflux applies 1, 0.25 times that"),
    "lokr of rank": (lokr_of(), {}, {"peft_type": "LOKR", "r": 8, "alpha": 8}, ""),
    "lokr without rank": (lokr_of(), {}, {"peft_type": "LOKR", "alpha": 8}, ""),
    # mflux 0.24 reads this one itself.
    "peft metadata": (PAIR, peft(**{"transformer.lora_alpha": 32, "transformer.r": 4}), None, ""),
    "peft metadata of a model": (PAIR, peft(lora_alpha=32, r=4, use_rslora=True), None, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory, diffusers_python) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("loras")
    for name, tensors in FILES.items():
        write_header(folder / f"{name}.safetensors", tensors)
    for name, (tensors, metadata, config, _) in TYPED.items():
        write_typed(folder / name / f"typed {name}.safetensors", tensors, metadata)
        if config is not None:
            (folder / name / "adapter_config.json").write_text(json.dumps(config))
    for alpha in (RANK, 2 * RANK):
        path = write_typed(folder / f"dora alpha {alpha}.safetensors", DORA)
        path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", alpha))  # alpha is the file's last number
    printed = run_in(diffusers_python, HERE / "flux2_loras.py", folder, source=releases.source("0.24.0") / "src")
    return {Path(account["file"]).stem: account for account in json.loads(printed)}


@pytest.mark.parametrize(("name", "convention"), [("diffusers", "diffusers"), ("kohya", "kohya")])
def test_a_file_that_fits(said, name, convention):
    account = said[name]
    assert (account["convention"], account["keys"], account["layers"]) == (convention, 30, 15)
    assert account["passed"] and not account["unmatched"] and not account["problems"] and not account["aliases"]


@pytest.mark.parametrize("name", ["lokr", "lokr factors"])
def test_a_lokr_that_fits(said, name):
    assert (said[name]["convention"], said[name]["layers"], said[name]["problems"]) == ("LoKr", 1, [])
    assert said[name]["passed"]


def test_a_patch_that_fits(said):
    assert said["patch"]["passed"] and said["patch"]["layers"] == 1


def test_no_alias_is_suggested_for_a_layer_that_does_not_fit(said):
    assert said["text encoder"]["convention"] == "diffusers" and len(said["text encoder"]["unmatched"]) == 2
    assert said["text encoder"]["aliases"] == [] and said["dora"]["aliases"] == []


@pytest.mark.parametrize("name", ["loha", "oft", "glora", "whole difference", "convolution"])
def test_no_alias_is_suggested_for_unsupported_adapters(said, name):
    assert not said[name]["passed"] and said[name]["aliases"] == []


def test_a_file_without_tensors_fails(said):
    assert not said["nothing"]["passed"]


def test_file_with_several_conventions(said):
    assert said["mixed"]["convention"] == "mixed: diffusers and kohya" and said["mixed"]["passed"]


def test_aliases_for_a_prefix_that_the_mapping_lacks(said):
    account = said["new prefix"]
    assert not account["passed"] and len(account["unmatched"]) == 30 and account["layers"] == 0
    suggested = {alias["path"]: alias["layers"] for alias in account["aliases"]}
    path = "transformer_blocks.{block}.attn.to_q"
    assert suggested[f"my_model.{path}"][0] == path and len(suggested) == 3


def test_aliases_for_an_ending_that_the_mapping_lacks(said):
    # mflux 0.24.0 does not take PEFT's adapter name in FLUX.2 LoRAs.
    account = said["default"]
    assert account["convention"] == "PEFT .default" and len(account["unmatched"]) == 30
    path = "transformer_blocks.{block}.attn.to_k"
    wanted = {"path": f"base_model.model.{path}", "layers": [path], "sure": True}
    assert wanted | {"endings": [".lora_A.default.weight", ".lora_B.default.weight"]} in account["aliases"]


def test_a_fused_projection_names_its_three_layers(said):
    (alias,) = said["fused"]["aliases"]
    assert alias["path"] == "diffusion_model.my_blocks.{block}.attn.qkv" and not alias["sure"]
    assert {f"transformer_blocks.{{block}}.attn.to_{name}" for name in "qkv"} <= set(alias["layers"])


@pytest.mark.parametrize(
    ("name", "layer", "why"),
    [
        ("wrong width", DOUBLE[0], "does not give the weight's (3072, 3072)"),
        ("half", DOUBLE[0], "lora_B is missing"),
        ("too many blocks", "transformer_blocks.7.attn.to_q", "has no such layer"),
        ("dora", f"transformer.{DOUBLE[0]}.lora_magnitude_vector", "does not support"),
        ("lokr half", DOUBLE[0], "Missing LoKr w2"),
        ("lokr wrong", DOUBLE[0], "do not make the weight's (3072, 3072)"),
        ("lokr lacks b", DOUBLE[0], "Missing LoKr w2"),
        ("lokr turned", DOUBLE[0].replace("to_q", "to_k"), "do not make the weight's (3072, 3072)"),
        ("patch of a matrix", DOUBLE[0], "does not fit the weight's (3072, 3072); mflux adds only vectors"),
        ("patch of no bias", DOUBLE[0], "is for a bias, which this layer does not have"),
        ("patch of another size", DOUBLE[0].replace("to_q", "norm_q"), "diff (64,) does not fit the weight's (128,)"),
        ("text encoder", "text_encoder.*", "2 keys are a text encoder's"),
        (
            "loha",
            f"4 keys, such as lora_unet_{DOUBLE[0].replace('.', '_')}.hada_w1_a",
            "LoHa, which mflux does not apply; merge it",
        ),
        ("oft", f"transformer.{DOUBLE[0]}.oft_R.weight", "OFT, which mflux does not apply"),
        (
            "glora",
            f"4 keys, such as lora_unet_{DOUBLE[0].replace('.', '_')}.a1.weight",
            "GLoRA, which mflux does not apply",
        ),
        ("whole difference", f"diffusion_model.{DOUBLE[0]}.diff", "a whole matrix, and mflux adds only vectors"),
        (
            "embedding",
            "2 keys, such as bundle_emb.word.clip_l",
            "textual inversion, which mflux does not apply; save the file without it",
        ),
        ("convolution", f"lora_unet_{DOUBLE[0].replace('.', '_')}.lora_mid.weight", "LoRA of a convolution"),
        ("no numbers", DOUBLE[0], "has no numbers"),
        ("two alphas", DOUBLE[0], "its alpha has 2 numbers instead of one"),
        ("twice", f"diffusion_model.{DOUBLE[0]}.lora_A.weight", "also goes to transformer_blocks.0.attn.to_q.lora_A"),
    ],
)
def test_a_file_that_does_not_fit_names_the_layer(said, name, layer, why):
    assert not said[name]["passed"]
    assert any(where == layer and why in text for where, text in said[name]["problems"]), said[name]["problems"]


def test_dora_of_a_lokr_loads_as_trained_at_alpha_of_rank_only(said):
    fits, scaled = (said[f"dora alpha {alpha}"] for alpha in (RANK, 2 * RANK))
    assert fits["passed"], fits
    ((layer, why),) = scaled["problems"]
    assert layer == "transformer_blocks.0.attn.to_v" and "alpha is 8 at rank 4" in why


@pytest.mark.parametrize("name", TYPED)
def test_types_and_scales_are_reported(said, name):
    account, words = said[f"typed {name}"], TYPED[name][3]
    problems = [f"{where}: {why}" for where, why in account["problems"]]
    assert account["passed"] == (not words), problems
    assert not account["unmatched"] and len(problems) == bool(words) and words in "".join(problems)


def test_mflux_that_ignores_metadata_loses_the_scale(tmp_path, diffusers_python):
    for name in ("peft metadata", "peft metadata of a model", "adapter_config of rank"):
        tensors, metadata, _, _ = TYPED[name]
        write_typed(tmp_path / f"{name}.safetensors", tensors, metadata)
    printed = run_in(
        diffusers_python, HERE / "flux2_loras.py", tmp_path, "older", source=releases.source("0.24.0") / "src"
    )
    said = {Path(account["file"]).stem: account["problems"] for account in json.loads(printed)}
    assert said["adapter_config of rank"] == []
    ((where, why),) = said["peft metadata"]
    assert where == "lora_adapter_metadata" and "sets a scale of 8 in 1 layer; this mflux applies 1" in why
    ((_, why),) = said["peft metadata of a model"]
    assert "a scale of 16" in why and "run with a LoRA scale of 16" in why
