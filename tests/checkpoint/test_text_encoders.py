"""`mflux-port inspect` on checkpoints with several text encoders, and with parts in folders with other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from mflux_port.checkpoint.answers_file import answers_yaml
from mflux_port.checkpoint.inference import infer
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.port.port import port_from_answers

from tests.checkpoint.files import TRANSFORMER, write_header

T5_XXL = {"model_type": "t5", "d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
          "feed_forward_proj": "gated-gelu"}  # fmt: skip
CLIP_L = {"model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
BIG_CLIP = {**CLIP_L, "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "hidden_act": "gelu"}
QWEN_VL = {"model_type": "qwen2_5_vl", "text_config": {"hidden_size": 3584, "num_hidden_layers": 28}}
TOKENIZER, ENCODER = ("transformers", "T5Tokenizer"), ("transformers", "Some")


def checkpoint(folder: Path, parts: dict[str, tuple], configs: dict[str, dict]) -> Path:
    """A pipeline's folder with these components of model_index.json; those with a config get weights, too."""
    folder.mkdir()
    index = {"_class_name": "NovaPipeline", **{name: list(part) for name, part in parts.items()}}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, config in configs.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        write_header(folder / name / "model.safetensors", TRANSFORMER)
    for name in parts:
        if "token" in name or name == "processor":
            (folder / name).mkdir()
            (folder / name / "tokenizer.json").write_text("{}")
    return folder


def answered(folder: Path) -> dict:
    answers = infer(open_checkpoint(str(folder)))
    text = answers_yaml(answers, "acme/Nova")
    return yaml.safe_load(text) | {"comments": [line for line in text.splitlines() if line.startswith("#")]}


@pytest.mark.parametrize(
    ("parts", "configs", "kinds", "places"),
    [
        (  # CLIP and T5
            {"text_encoder": ENCODER, "text_encoder_2": ENCODER, "tokenizer": TOKENIZER, "tokenizer_2": TOKENIZER},
            {"text_encoder": CLIP_L, "text_encoder_2": T5_XXL},
            ("clip", "t5"),
            [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")],
        ),
        (  # three encoders, one of another size, listed in another order
            {
                "text_encoder_3": ENCODER,
                "text_encoder_2": ENCODER,
                "text_encoder": ENCODER,
                "tokenizer_3": TOKENIZER,
                "tokenizer": TOKENIZER,
                "tokenizer_2": TOKENIZER,
            },
            {"text_encoder": CLIP_L, "text_encoder_2": BIG_CLIP, "text_encoder_3": T5_XXL},
            ("clip", "own", "t5"),
            [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"), ("text_encoder_3", "tokenizer_3")],
        ),
        (  # two encoders that share a tokenizer
            {"text_encoder": ENCODER, "text_encoder_2": ENCODER, "tokenizer": TOKENIZER},
            {"text_encoder": T5_XXL, "text_encoder_2": {**T5_XXL, "d_model": 2048}},
            ("t5", "own"),
            [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer")],
        ),
        (  # one encoder under another name, with a processor
            {
                "mllm": ("transformers", "Qwen2_5_VLForConditionalGeneration"),
                "image_encoder": ("transformers", "CLIPVisionModel"),
                "processor": ("transformers", "Qwen2_5_VLProcessor"),
            },
            {"mllm": QWEN_VL, "image_encoder": {"model_type": "clip_vision_model"}},
            ("own",),
            [("mllm", "processor")],
        ),
    ],
)
def test_every_text_encoder_is_in_the_answers(tmp_path, parts, configs, kinds, places):
    parts = {"transformer": ("diffusers", "NovaTransformer2DModel"), **parts}
    folder = checkpoint(tmp_path / "nova", parts, {"transformer": {"num_layers": 4}, **configs})
    answers = answered(folder)
    found = answers["text_encoders"]
    assert (answers["text_encoder"], *(entry["kind"] for entry in found[1:])) == kinds
    assert [(entry["folder"], entry["tokenizer"]) for entry in found] == places


def test_one_text_encoder_in_its_usual_place_needs_no_list(tmp_path):
    parts = {"transformer": ("diffusers", "Nova"), "text_encoder": ENCODER, "tokenizer": TOKENIZER}
    answers = answered(checkpoint(tmp_path / "nova", parts, {"transformer": {"num_layers": 4}, "text_encoder": T5_XXL}))
    assert "text_encoders" not in answers and "folders" not in answers


def test_missing_encoder_is_marked_to_look_up(tmp_path):
    parts = {"transformer": ("diffusers", "Nova"), "text_encoder": ENCODER, "text_encoder_2": ENCODER}
    answers = answered(checkpoint(tmp_path / "nova", parts, {"transformer": {"num_layers": 4}, "text_encoder": T5_XXL}))
    assert answers["text_encoders"][1] == {"folder": "text_encoder_2", "tokenizer": "tokenizer_2", "kind": "own"}
    assert any("LOOK UP" in line and "text_encoder_2, which is not here" in line for line in answers["comments"])


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("unet", "NovaUNet2DModel"),
        ("prior", "NovaPrior"),
        ("transformer_2", "NovaTransformer2DModel"),
        ("dit", "NovaDiT"),
    ],
)
def test_denoiser_in_another_folder_is_found(tmp_path, name, class_name):
    parts = {name: ("diffusers", class_name), "text_encoder": ENCODER, "tokenizer": TOKENIZER}
    answers = answered(checkpoint(tmp_path / "nova", parts, {name: {"num_layers": 4}, "text_encoder": T5_XXL}))
    assert answers["folders"] == {"transformer": name}


def test_two_denoisers_are_marked_to_look_up(tmp_path):
    parts = {"prior": ("diffusers", "NovaPrior"), "unet": ("diffusers", "NovaUNet2DModel")}
    answers = answered(checkpoint(tmp_path / "nova", parts, {"prior": {"num_layers": 4}, "unet": {"num_layers": 4}}))
    assert any(
        "LOOK UP - prior and unet are denoisers, and the port supports one" in line for line in answers["comments"]
    )


def test_port_knows_the_folder_of_each_part():
    answers = {
        "model": "nova", "class_name": "Nova", "display_name": "Nova", "cli_name": "nova", "hf_repo": "acme/Nova",
        "reference_pipeline": "NovaPipeline", "steps": 8, "guidance": 4.0, "supports_guidance": True,
        "checkpoints": [{"key": "nova", "hf_repo": "acme/Nova"}], "variants": ["txt2img"], "vae": "own",
        "text_encoder": "clip", "scheduler": "linear", "img2img": True, "negative_prompt": False, "lora": True,
        "training": False, "mflux_api": "0.24",
    }  # fmt: skip
    old = port_from_answers(answers)
    assert (
        old.kinds == {"vae": "own", "text_encoder": "clip"} and old.checkpoints[0].config["max_sequence_length"] == 77
    )
    assert [old.folder_of(part) for part in ("transformer", "vae", "text_encoder")] == [
        "transformer",
        "vae",
        "text_encoder",
    ]
    more = {"text_encoders": [{"folder": "clip"}, {"kind": "t5"}], "folders": {"transformer": "unet"}}
    port = port_from_answers(answers | more)
    assert port.kinds == {"vae": "own", "text_encoder": "clip", "text_encoder_2": "t5"}
    assert [port.folder_of(part) for part in ("transformer", "vae", "text_encoder", "text_encoder_2")] == [
        "unet", "vae", "clip", "text_encoder_2",
    ]  # fmt: skip
    assert "max_sequence_length" not in port.checkpoints[0].config
