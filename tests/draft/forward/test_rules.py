"""What is folded, what raises and what is proven, on a reference of a few lines."""

from __future__ import annotations

import json

import pytest

from tests.draft.forward.running import run_where_torch_is


@pytest.fixture(scope="session")
def rules() -> dict:
    return json.loads(run_where_torch_is("run_rules.py").splitlines()[-1])


@pytest.fixture(scope="session")
def classes(rules) -> dict[str, dict]:
    return rules["classes"]


def test_values_that_the_config_decides_are_folded(classes):
    text = classes["Folded"]["text"]
    assert classes["Folded"]["state"] == "verified"
    assert "if " not in text and "x + 1" in text and "scale" not in text and "flag" not in text
    assert "shift" in text and ":=" not in text  # bound by a test that is left out


def test_untaken_branch_raises_with_file_and_line(classes):
    assert classes["Unseen"]["state"] == "verified"
    assert "if x.shape[1] > 100:" in classes["Unseen"]["text"]
    assert "NotImplementedError" in classes["Unseen"]["text"] and "rules_reference.py:" in classes["Unseen"]["text"]


def test_both_branches_that_ran_are_written(classes):
    assert classes["Sided"]["state"] == "verified" and "NotImplementedError" not in classes["Sided"]["text"]


def test_none_in_all_runs_is_not_folded_if_a_run_may_pass_a_value(classes):
    assert (
        "mask is not None" in classes["AlwaysNone"]["text"] and "NotImplementedError" in classes["AlwaysNone"]["text"]
    )


def test_a_number_that_differs_in_the_twin_is_not_folded(classes):
    text = classes["Resized"]["text"]
    assert classes["Resized"]["state"] == "verified" and text.count("NotImplementedError") == 2
    assert "if self.width > 64:" in text and "if rest == 1:" in text  # also not what follows from it
    assert "scale" not in text  # 1 in both models


def test_one_gap_does_not_hide_the_rest(classes):
    assert classes["Wrong"]["state"] == "raises" and "fft is not in the table" in classes["Wrong"]["line"]
    assert "rules_reference.py:" in classes["Wrong"]["line"]
    assert classes["Parent"]["state"] == "verified" and classes["Model"]["state"] == "verified"


def test_result_of_a_chosen_function_is_kept(classes):
    assert classes["Chosen"]["state"] == "verified" and "y = nn.silu(x)" in classes["Chosen"]["text"]


def test_a_vae_of_any_scale_is_recorded_with_images_that_it_takes(rules):
    assert rules["encoded"][0] == [[96, 32], [32, 64]]
    assert rules["encoded"][1] == [[47, 15], [16, 32]]  # odd sides show how a convolution pads


def test_inputs_are_found_by_how_far_the_model_gets(rules):
    needed = {"encoder_attention_mask", "encoder_hidden_states_2", "encoder_attention_mask_2"}
    assert needed <= set(rules["inputs"]) and not {"pooled_projections", "img_ids"} & set(rules["inputs"])


def test_config_without_sizes_does_not_make_a_full_size_twin(rules):
    assert "million parameters at small sizes: config.json lacks some of its sizes" in rules["refused"]


def test_a_layer_that_the_class_names_and_the_only_part_of_an_output(classes):
    assert classes["Named"]["state"] == classes["Reader"]["state"] == "verified"
    assert "self.linear" in classes["Named"]["text"] and "getattr" not in classes["Named"]["text"]
    assert "[0]" not in classes["Reader"]["text"]


def test_arrays_that_no_checkpoint_has_are_computed(classes):
    text = classes["Tables"]["text"]
    assert classes["Tables"]["state"] == "verified"
    assert (
        "self._inv_freq = 1.0 / 100.0 ** (mx.arange(0, self.inv_freq_dims, 2, dtype=mx.float32) / self.inv_freq_dims)"
        in text
    )
    assert "self._pairs" in text and "complex64" not in text


def test_layers_of_several_kinds_are_written_out(classes):
    assert classes["Attention"]["state"] == "verified"
    assert (
        "self.to_out[0](x)" in classes["Attention"]["text"]
        and "mx.fast.scaled_dot_product_attention" in classes["Attention"]["text"]
    )


def test_results_are_returned_in_one_form(classes):
    assert "return_dict" not in classes["Model"]["text"] and "return self.attention(" in classes["Model"]["text"]


def test_draft_is_the_same_twice(rules):
    assert rules["same"]


def test_table_that_is_the_same_in_every_step_becomes_a_method(classes):
    text = classes["Blocks"]["text"]
    given = "hidden_states: mx.array, position_ids: mx.array"  # of the first, its table reads only the shape
    assert classes["Blocks"]["state"] == "verified"
    assert f"def get_rotary_embeddings(self, {given}) -> tuple[mx.array, mx.array]:" in text
    assert "rotary_embeddings = self.get_rotary_embeddings(hidden_states, position_ids)" in text


def test_checkpointed_loop_can_be_checkpointed_in_the_port(classes):
    text = classes["Blocks"]["text"]
    assert 'gradient_checkpointing = getattr(self, "gradient_checkpointing", False)' in text
    assert "run = nn.utils.checkpoint(block) if gradient_checkpointing else block" in text
    assert "hidden_states = run(hidden_states, rotary_embeddings)" in text


def test_port_without_training_has_no_checkpointing_switch(classes):
    text = classes["Blocks of a port without training"]["text"]
    assert classes["Blocks of a port without training"]["state"] == "verified"
    assert "gradient_checkpointing" not in text and "hidden_states = block(hidden_states, rotary_embeddings)" in text


def test_parts_of_a_result_that_nothing_reads_are_left_out(classes):
    text = classes["Block"]["text"]
    assert classes["Block"]["state"] == "verified" and text.endswith("None], 2")
    assert "turned, length = self._turned(" in text


def test_casts_that_change_nothing_are_left_out(classes):
    text = classes["Block"]["text"]
    # In bfloat16 the first cast changes the type, and the second reverts it.
    assert "x.astype(mx.float32)" in text and "turned.astype(x.dtype)" in text
    assert "position_ids" in classes["Blocks"]["text"] and "astype" not in classes["Blocks"]["text"]


def test_neighbouring_layers_share_one_transpose(classes):
    text = classes["Convolutions"]["text"]
    assert classes["Convolutions"]["state"] == "verified"
    # torch computes a group norm in float32, for any type of its input.
    assert (
        "y = SHARED.float32_norm(self.norm, mx.moveaxis(x, 1, -1))" in text
        and "y = mx.moveaxis(self.outer(y), -1, 1)" in text
    )
    # Both sides of its test are the same without dropout.
    assert "if " not in text and "step" not in classes["Convolutions"]["reads"]
    assert "y = self.inner(y)" in text and "SHARED.channels_last(self.last, x + y)" in text


def test_a_layer_that_is_looked_up_by_its_name_is_called(classes):
    assert classes["Looked"]["state"] == "verified" and "return self._get_layer()(x)" in classes["Looked"]["text"]
    assert "def _get_layer(self) -> nn.Module:\n    return self.linear" in classes["Looked"]["text"]


def test_results_are_compared_place_by_place(rules):
    assert rules["compared"] == [float("inf"), float("inf"), 0.0]


def test_a_class_without_weights_is_called_with_large_numbers_too(rules):
    small = pytest.approx(0.025)
    assert rules["scaled"] == {"weights": [small], "none": [small, 256.0]}


def test_error_of_a_proof_is_compared_with_its_own_limit(rules):
    assert rules["nearest"] == {"kind": "verified", "error": 1e-4, "limit": 2e-4, "calls": 3}
