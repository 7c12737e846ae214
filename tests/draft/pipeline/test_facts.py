"""Facts of pipelines whose ports mflux has: what is read from the twin is what the released port does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import preloaded
from tests.conftest import PROJECT
from tests.draft.glue.references import REFERENCES
from tests.parity.families import write_scripts
from tests.parity.other_references import OTHERS
from tests.parity.references import FAMILIES

DIFFUSERS = "diffusers==0.42.*"
PACKED = "b c (h p) (w q) -> b (h w) (c p q), p = q = 2"
# Written from mflux 0.24.0's source (variants, prompt encoders, latent creators, schedulers) and from the papers'
# formulas for families that mflux lacks, before the first run.
EXPECTED = {
    "z_image": {
        "prompt.cap_feats": {"states": ["text_encoder.hidden_states[-2]"]},
        "tokenization.tokenizer": {"before": "<|im_start|>user\n", "after": "<|im_end|>\n<|im_start|>assistant\n"},
        "packing": {"argument": "x", "pattern": "unchanged"},
        "sizes": {"multiple": 16},
        "timestep": {"argument": "t", "is": "1 - sigma"},
        "guidance": {"formula": "conditional + guidance * (conditional - unconditional)", "sign": -1},
        "decoding": {"normalisation": "latents / scaling_factor + shift_factor"},
        "encoding.text_encoder": {"mask": True, "first": 0, "keep": "tokens"},
        "negative": {"guided": "guidance > 0", "default": ""},
        "arguments": {
            "x": {"is": "latents", "list": True, "axes": 4},
            "cap_feats": {"is": "prompt", "list": True, "axes": 2},
        },
    },
    "flux2": {
        "prompt.encoder_hidden_states": {
            "states": [f"text_encoder.hidden_states[{index}]" for index in (-21, -12, -3)],
            "joined": "concatenated",
        },
        "packing": {"argument": "hidden_states", "pattern": "b c h w -> b (h w) (c)"},
        "sizes": {"multiple": 16},
        "timestep": {"is": "sigma"},
        "schedule": {"shift": "mu by FLUX.2's empirical formula"},
        "guidance": {"calls": 2, "sign": 1},
        "encoding.text_encoder": {"keep": "all"},
        "negative": {"guided": "guidance > 1", "default": ""},
        "arguments": {
            "img_ids": {"is": "image ids", "columns": [0, "row", "column", 0], "patch": 1, "axes": 3, "dtype": "int"},
            "txt_ids": {"is": "text ids", "columns": [0, 0, 0, "token"], "axes": 3, "dtype": "int"},
        },
        "input_image": {"size": "its own", "most": 1024 * 1024, "multiple": 16, "to": "cropped in the middle"},
        "images": {
            "count": 3,
            "positions": {
                "img_ids": {
                    "columns": [{"first": 10, "each": 10}, "row", "column", {"first": 0, "each": 0}],
                    "axes": 3,
                    "dtype": "int",
                },
            },
        },
    },
    "ernie_image": {
        "prompt.text_bth": {
            "states": ["text_encoder.hidden_states[-2]"],
            "order": [{"text_encoder": [1, 0]}, {"text_encoder": [0, 0]}],
        },
        # Its tokenizer is called with one text and returns one list.
        "encoding.text_encoder": {"tokenizer": "tokenizer", "mask": False, "keep": "all"},
        "timestep": {"is": "1000 * sigma"},
        "schedule": {"shift": 4.0},
        "guidance": {"formula": "unconditional + guidance * (conditional - unconditional)", "conditional": 1},
        "packing": {"pattern": "unchanged"},
        # Nothing is padded, so the prompt's vectors are its tokens.
        "arguments": {"text_lens": {"is": "numbers", "numbers": ["text"], "array": True, "dtype": "int"}},
    },
    "aura_flow": {
        "prompt.encoder_hidden_states": {"states": ["text_encoder.last_hidden_state"], "zeros_after": True},
        "timestep": {"is": "sigma"},
        "schedule": {"shift": 1.73},
        "decoding": {"normalisation": "latents / scaling_factor"},
        "encoding.text_encoder": {"keep": "all", "zeros": "padding"},
        "negative": {"guided": "guidance > 1", "default": ""},
    },
    "cogview4": {
        "timestep": {"is": "1000 * the sigma before its shift"},
        "schedule": {"shift": "mu by the square root of the image tokens, base_shift and max_shift"},
        "encoding.text_encoder": {"mask": False, "keep": "all", "pad_before": {"multiple": 16, "id": 0}},
    },
    "stable_diffusion_3": {  # three encoders: two side by side, then the third one's tokens
        "prompt.encoder_hidden_states": {
            "blocks": [
                {
                    "states": [f"{encoder}.hidden_states[-2]" for encoder in ("text_encoder", "text_encoder_2")],
                    "joined": "concatenated",
                    "zeros_behind": 220 - 80 - 112,
                },
                {"states": ["text_encoder_3.last_hidden_state"]},
            ],
        },
        "prompt.pooled_projections": {
            "states": ["text_encoder.text_embeds", "text_encoder_2.text_embeds"],
            "joined": "concatenated",
        },
        "encoding.text_encoder": {"tokenizer": "tokenizer", "mask": False, "keep": "all"},
        "encoding.text_encoder_2": {"tokenizer": "tokenizer_2", "mask": False, "keep": "all"},
        "encoding.text_encoder_3": {"tokenizer": "tokenizer_3", "mask": False, "keep": "all"},
        "timestep": {"is": "1000 * sigma"},
        "schedule": {"shift": 3.0},
        "guidance": {"formula": "unconditional + guidance * (conditional - unconditional)", "conditional": 1},
    },
    "lumina2": {"negative": {"guided": "guidance > 1", "default": "", "text_around": False}},
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """``facts("z_image")``: all facts of a family's twin, by name; one process each."""
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    made: dict[str, dict] = {}

    def read(name: str) -> dict:
        if name not in made:
            home = write_scripts(
                name, {**FAMILIES, **OTHERS, **REFERENCES}[name], "Any", tmp_path_factory.mktemp("facts")
            )
            _run(python, [home / "make_tiny_checkpoint.py", "--model", home / "reference"])
            command = ["-m", "mflux_port.draft.pipeline.separate_process", home / "artifacts/tiny", "--edits"]
            made[name] = {entry["name"]: entry for entry in json.loads(_run(python, command))}
        return made[name]

    return read


@pytest.mark.full
@pytest.mark.parametrize("name", EXPECTED)
def test_facts_equal_those_of_the_released_port(facts, name):
    found = facts(name)
    for fact, wanted in EXPECTED[name].items():
        value = found[fact]["value"]
        assert value is not None, found[fact]
        assert {key: value[key] for key in wanted} == wanted, fact


@pytest.mark.full
def test_unexplained_fact_lists_the_measured_values(facts):
    shift = facts("pixart_sigma")["schedule"]
    assert shift["value"] is None and shift["alternatives"] and "scheduler_config.json" in shift["where"]


@pytest.mark.full
def test_images_are_open_if_the_pipeline_takes_none(facts):
    found = facts("z_image")
    for name in ("input_image", "images"):
        assert found[name]["value"] is None and "ZImagePipeline takes no image" in found[name]["alternatives"][0]


def _run(python: Path, arguments: list) -> str:
    variables = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks"), "HF_HUB_OFFLINE": "1"}
    done = preloaded.run([str(python), *map(str, arguments)], PROJECT, variables)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
