"""The sizes of a twin: small, and with everything that the real model's code distinguishes."""

from __future__ import annotations

from mflux_port.draft.forward.twin.small_config import small_config


def test_fewer_layers_have_every_kind_of_layer():
    kinds = [*["sliding_attention"] * 5, "full_attention"]
    small = small_config("text_encoder", {"num_hidden_layers": 6, "layer_types": kinds, "sliding_window": 1024})
    assert small["layer_types"] == [*["sliding_attention"] * 3, "full_attention"]
    assert small["num_hidden_layers"] == 4 and small["sliding_window"] < 5


def test_a_head_that_three_axes_share_stays_a_multiple_of_three():
    assert (
        small_config("transformer", {"num_attention_heads": 24, "attention_head_dim": 96})["attention_head_dim"] % 3
        == 0
    )


def test_latents_of_one_size_are_small():
    assert small_config("transformer", {"sample_size": 128})["sample_size"] == 16


def test_every_list_of_channels_and_width_of_a_vae_is_small():
    config = {"channels": 128, "encoder_block_out_channels": [64, 128, 384], "layers_per_block": [3, 4, 6]}
    small = small_config("vae", config)
    assert small == {"channels": 32, "encoder_block_out_channels": [32, 64, 192], "layers_per_block": [1, 1, 1]}
