"""References without a port in any mflux release: their twins are made, run and recorded without manual steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkpoint.headers import read_header
from parity.record import shrink

from tests.parity.families import write_scripts
from tests.parity.other_references import OTHERS

ARGUMENTS = ("--steps", "2", "--size", "64x96", "--no-calibration")


@pytest.fixture
def home(tmp_path, script):
    """``home("pixart_sigma")``: the scripts' folder of a reference, with its twin; more arguments go to the twin."""

    def make(name: str, *arguments: str) -> Path:
        made = write_scripts(name, OTHERS[name], "Other", tmp_path)
        done = script(made, "make_tiny_checkpoint.py", "--model", made / "reference", *arguments)
        assert done.returncode == 0, done.stderr
        return made

    return make


@pytest.mark.full
@pytest.mark.parametrize("name", OTHERS)
def test_the_twin_is_recorded_at_the_size_that_was_asked_for(home, script, name):
    made = home(name)
    done = script(made, "run_reference.py", "--model", made / "artifacts/tiny", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    found = read_header(made / "artifacts/reference.safetensors")
    channels = OTHERS[name]["vae"][2]["latent_channels"]
    assert found["noise/pipeline/out/0"].shape == (1, channels, 12, 8)
    assert found["vae_decode/vae/out/0"].shape == (1, 3, 96, 64)


@pytest.mark.full
def test_failing_reference_gives_one_line(home, script):
    made = home("pixart_sigma", "--override", "transformer.caption_channels=50")
    done = script(made, "run_reference.py", "--model", made / "artifacts/tiny", *ARGUMENTS)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("parity: PixArtSigmaPipeline failed on") and "RuntimeError: mat1 and mat2" in said
    assert said.endswith("fix the twin's sizes with OVERRIDES in make_tiny_checkpoint.py")
    assert not list((made / "artifacts").glob("reference*"))


@pytest.mark.full
def test_processor_keeps_image_settings_and_loses_its_vocabulary(tmp_path, script):
    made = write_scripts("aura_flow", OTHERS["aura_flow"], "Other", tmp_path)
    source, target = (made / folder / "tokenizer" for folder in ("reference", "artifacts/tiny"))
    (source / "preprocessor_config.json").write_text('{"patch_size": 16}')
    (source / "vocab.json").write_text('{"far": 99999}')
    done = script(made, "make_tiny_checkpoint.py", "--model", made / "reference")
    assert done.returncode == 0, done.stderr
    assert (target / "preprocessor_config.json").read_text() == '{"patch_size": 16}'
    assert not (target / "vocab.json").exists()
    assert max(json.loads((target / "tokenizer.json").read_text())["model"]["vocab"].values()) < 300


def small(name: str) -> dict[str, dict]:
    sizes = shrink.Sizes()
    real = {part: entry[2] for part, entry in OTHERS[name].items() if part.startswith(("transformer", "text_encoder"))}
    made = {part: shrink.shrink_network(config, sizes, "text" in part) for part, config in real.items()}
    shrink.link(real, made)
    return made


def width(transformer: dict) -> int:
    return transformer["num_attention_heads"] * transformer["attention_head_dim"]


def test_unnamed_width_is_followed():
    transformer = small("aura_flow")["transformer"]
    assert transformer["caption_projection_dim"] == width(transformer)


def test_width_is_not_mistaken_for_twice_an_encoders():
    made = small("stable_diffusion_3")
    transformer = made["transformer"]
    assert transformer["caption_projection_dim"] == width(transformer)
    assert transformer["joint_attention_dim"] == made["text_encoder_3"]["d_model"]
    assert made["text_encoder"]["projection_dim"] + made["text_encoder_2"]["projection_dim"] == 2048


def test_rotary_sections_fill_half_a_head():
    config = {"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944}
    config |= {"rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]}}
    made = shrink.shrink_network(config, shrink.Sizes(), True)
    assert sum(made["rope_parameters"]["mrope_section"]) == made["hidden_size"] // made["num_attention_heads"] // 2
    assert config["rope_parameters"]["mrope_section"] == [16, 24, 24]
