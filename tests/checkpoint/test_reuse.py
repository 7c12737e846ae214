"""A component is reused only if mflux implements every value of its config. The table is compared with both classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.checkpoint.reuse import reusable, reuse_table

from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

SIZES = {"vocab_size": 151936, "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32,
         "num_key_value_heads": 8, "intermediate_size": 9728, "head_dim": 128, "rms_norm_eps": 1e-6}  # fmt: skip
CHOICES = [(question, choice) for question in ("vae", "text_encoder") for choice in reuse_table()[question]]
WORDS = {"any": 3, "at least 512": 4096, "full_attention": ["full_attention"] * 36, 1: [1] * 36}


def value_of(wanted):
    if isinstance(wanted, dict):
        return wanted["one_of"][0]
    return WORDS.get(wanted, wanted) if isinstance(wanted, str | int) and not isinstance(wanted, bool) else wanted


def config_of(question: str, choice: str) -> dict:
    entry = reuse_table()[question][choice]
    config = {key: value_of(value) for key, value in entry["implements"].items() if key != "rope_type"}
    if "rope_type" in entry["absent"]:
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6}
    return config | {key: SIZES[key] for key in entry.get("takes", ())}


def asked(question: str, choice: str, config: dict) -> tuple[str, str]:
    entry = reuse_table()[question][choice]
    return reusable(question, entry.get("classes", [""])[0], list(entry.get("model_types", ()))[:1], config)


def otherwise(value):
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, str):
        return f"{value}_new"
    if isinstance(value, list):
        return [*value[:-1], otherwise(value[-1])] if value else [8]
    return value * 2


@pytest.mark.parametrize(("question", "choice"), CHOICES)
def test_the_values_that_mflux_implements_are_reused(question, choice):
    found, why = asked(question, choice, config_of(question, choice))
    assert found == choice, why


@pytest.mark.parametrize(
    ("question", "choice", "key"),
    [(q, c, key) for q, c in CHOICES for key, wanted in reuse_table()[q][c]["implements"].items()
     if wanted not in ("any", "at least 512") and key != "rope_type"],
)  # fmt: skip
def test_every_other_value_is_named(question, choice, key):
    config = config_of(question, choice)
    wanted = reuse_table()[question][choice]["implements"][key]
    changed = 12345 if isinstance(wanted, dict) else otherwise(value_of(wanted))
    found, why = asked(question, choice, config | {key: changed})
    assert found == "own" and f"{key} is " in why and "mflux's" in why


def test_a_class_that_adds_a_module_is_not_reused():
    config = config_of("text_encoder", "clip")
    found, why = reusable("text_encoder", "CLIPTextModelWithProjection", ["clip_text_model"], config)
    assert found == "own" and "CLIPTextModelWithProjection has text_projection, mflux's class has none" in why
    assert reusable("text_encoder", "CLIPTextModel", ["clip_text_model"], config)[0] == "clip"


@pytest.mark.parametrize(("question", "choice"), CHOICES)
def test_unknown_value_is_named(question, choice):
    found, why = asked(question, choice, config_of(question, choice) | {"gated_everything": True})
    assert found == "own" and "gated_everything is True, which mflux's class does not have" in why
    assert asked(question, choice, config_of(question, choice) | {"gated_everything": False})[0] == choice


@pytest.mark.parametrize(
    ("question", "choice", "key"),
    [(q, c, key) for q, c in CHOICES for key in reuse_table()[q][c]["absent"] if key != "rope_type"],
)
def test_omitted_value_is_the_references_default(question, choice, key):
    config = config_of(question, choice)
    config.pop(key, None)
    found, why = asked(question, choice, config)
    assert found == "own" and key in why


@pytest.mark.parametrize(
    ("rope", "same"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, True),
        ({"rope_scaling": None, "rope_theta": 1e6}, True),
        ({"rope_scaling": {"mrope_section": [24, 20, 20], "rope_type": "default"}}, True),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, False),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 16.0, "rope_theta": 1e6}}, False),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, False),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, False),
    ],
)
def test_scaled_positions_are_not_reused(rope, same):
    found, why = asked("text_encoder", "qwen3", config_of("text_encoder", "qwen3") | rope)
    assert (found == "qwen3") == same and (same or "rope_type is" in why)


@pytest.mark.parametrize(
    ("question", "choice", "change", "words"),
    [
        ("text_encoder", "clip", {"max_position_embeddings": 248}, "max_position_embeddings is 248; mflux's is 77"),
        ("text_encoder", "clip", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; mflux's is 'quick_gelu'"),
        ("text_encoder", "clip", {"eos_token_id": 49408}, "eos_token_id is 49408; mflux's is 2 or 49407"),
        ("text_encoder", "t5", {"is_decoder": True}, "is_decoder is True; mflux's is False"),
        ("text_encoder", "t5", {"num_layers": 12}, "num_layers is 12; mflux's is 24"),
        ("text_encoder", "t5", {"feed_forward_proj": "relu"}, "feed_forward_proj is 'relu'"),
        ("text_encoder", "qwen3", {"attention_bias": True}, "attention_bias is True; mflux's is False"),
        ("text_encoder", "qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types is"),
        ("vae", "flux", {"scaling_factor": 1.5305, "shift_factor": 0.0609}, "scaling_factor is 1.5305; mflux's is 0.3611 and 1 more"),
        ("vae", "flux", {"norm_num_groups": 16}, "norm_num_groups is 16; mflux's is 32"),
        ("vae", "flux2", {"batch_norm_eps": 1e-5}, "batch_norm_eps is 1e-05; mflux's is 0.0001"),
        ("vae", "qwen", {"input_channels": 4}, "input_channels is 4; mflux's is 3"),
        ("vae", "qwen", {"latents_std": [1.0] * 16}, "latents_std is"),
    ],
)  # fmt: skip
def test_similar_components_are_not_reused(question, choice, change, words):
    found, why = asked(question, choice, config_of(question, choice) | change)
    assert found == "own" and words in why


def test_missing_size_is_named():
    config = config_of("text_encoder", "qwen3")
    del config["hidden_size"]
    assert asked("text_encoder", "qwen3", config) == ("own", "mflux's qwen3 differs: hidden_size is not in config.json")


@pytest.mark.full
def test_table_agrees_with_mflux_and_the_references(diffusers_python):
    printed = run_in(diffusers_python, HERE / "reuse_against_mflux.py", source=releases.source("0.24.0") / "src")
    facts = json.loads(printed.splitlines()[-1])
    assert facts.keys() == {choice for _, choice in CHOICES}
    for choice in reuse_table()["vae"]:
        for name, found in facts[choice].items():
            assert found == {"unknown": [], "wrong": {}, "open": [], "constants": [], "changing": []}, (choice, name)
    for choice in reuse_table()["text_encoder"]:
        found = facts[choice]
        assert (found["unknown"], found["wrong"], found["changing"], found.get("open", [])) == ([], {}, [], []), choice
        # Both classes ran on the same random numbers; they agree except for the rounding of 32-bit floats.
        assert found["distance"] < 1e-5, (choice, found["distance"])
