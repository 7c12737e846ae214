"""Sizes of the tests: every width can be quantized, and the names are those of the drafted classes."""

from __future__ import annotations

import pytest
from mflux_port.draft.glue.tiny_sizes import sizes_text, small_configs

from tests.draft.glue.references import REFERENCES
from tests.parity.other_references import OTHERS
from tests.parity.references import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_test_width_can_be_quantized(family):
    real = {name: FAMILIES[family][name][2] for name in ("transformer", "text_encoder")}
    small = small_configs(real, {})
    transformer, text = small["transformer"], small["text_encoder"].get("text_config", small["text_encoder"])
    heads = transformer.get("num_attention_heads", transformer.get("n_heads"))
    size = transformer.get("attention_head_dim") or sum(
        transformer.get("axes_dims", transformer.get("rope_axes_dim", []))
    )
    assert heads * size % 64 == 0 and text["hidden_size"] % 64 == 0


def test_transformer_uses_the_width_of_a_stand_in():
    real = {name: REFERENCES["flux"][name][2] for name in ("transformer", "text_encoder", "text_encoder_2")}
    small = small_configs(real, {}, ["text_encoder_2"])
    assert small["transformer"]["joint_attention_dim"] == small["text_encoder_2"]["d_model"] == 128
    assert small["transformer"]["pooled_projection_dim"] == small["text_encoder"]["hidden_size"] == 192


def test_empty_axis_stays_empty():
    real = {name: REFERENCES["flux"][name][2] for name in ("transformer", "text_encoder")}
    axes = {"axes_dims_rope": [0, 64, 64], "attention_head_dim": 128}
    small = small_configs(real | {"transformer": real["transformer"] | axes}, {})["transformer"]
    assert small["axes_dims_rope"] == [0, 16, 16] and small["num_attention_heads"] == 6


SIZES = """class Sizes:
    TRANSFORMER = {"hidden_size": 128}
    REFERENCE_CLASS = ""
    REFERENCE = {}
    TEXT_ENCODER = {"hidden_size": 128}
"""


@pytest.mark.parametrize(
    ("encoder", "table"),
    [
        ("d_model: int = 64, num_layers: int = 3", {"d_model": 192}),
        ("hidden_size: int = 64", {"hidden_size": 192}),
        ("", {"hidden_size": 192}),  # mflux's own class
    ],
)
def test_the_sizes_of_a_text_encoder_have_the_names_of_its_class(encoder, table):
    drafted = {"transformer": "class A:\n    def __init__(self, dim: int = 8):\n        pass\n"}
    drafted |= {"text_encoder": f"class B:\n    def __init__(self, {encoder}):\n        pass\n"} if encoder else {}
    real = {"transformer": {"dim": 8}, "text_encoder": {"d_model": 64, "hidden_size": 64, "num_layers": 3}}
    small = {"transformer": {"dim": 4}, "text_encoder": {"d_model": 192, "hidden_size": 192, "num_layers": 3}}
    scope: dict = {}
    exec(sizes_text(SIZES, drafted, "A", real, small), scope)
    assert scope["Sizes"].TEXT_ENCODER == table and scope["Sizes"].TRANSFORMER == {"dim": 4}


def test_concatenated_encoders_fit_into_a_stand_ins_width():
    real = {
        name: OTHERS["stable_diffusion_3"][name][2]
        for name in ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
    }
    small = small_configs(real, {}, ["text_encoder_3"])
    widths = [small["text_encoder"]["hidden_size"], small["text_encoder_2"]["hidden_size"]]
    assert sum(widths) <= small["text_encoder_3"]["d_model"] == small["transformer"]["joint_attention_dim"]
