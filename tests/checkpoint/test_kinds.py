"""The kind of a file follows from its header: each kind with several inputs that differ in names, types and depth."""

from __future__ import annotations

import pytest
from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.classify import classify
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft.component import draft_component
from mflux_port.port.port import port_from_answers

from tests.checkpoint.files import write_typed
from tests.draft.modules.test_odd_names import ANSWERS

W = ("BF16", (64, 32))
B = ("BF16", (64,))
NORM = ("BF16", (32,))


def tensors(table: dict) -> dict[str, Tensor]:
    return {name: Tensor(name, *entry) for name, entry in table.items()}


def blocks(arrays: dict, count: int = 2, path: str = "blocks.{}.attn.to_q") -> dict:
    """The arrays of one linear layer in every block, and a plain norm next to it."""
    found = {f"{path.format(block)}.{name}": entry for block in range(count) for name, entry in arrays.items()}
    return found | {f"{path.format(block).rpartition('.')[0]}.norm.weight": NORM for block in range(count)}


F32, U8 = ("F32", (64,)), ("U8", (1024, 1))
QUANTIZED = {
    "bitsandbytes int8": [
        blocks({"weight": ("I8", (64, 32)), "SCB": F32}),
        blocks({"weight": ("I8", (64, 32)), "SCB": F32, "bias": B, "weight_format": ("U8", ())}),
        blocks({"weight": ("I8", (64, 32)), "SCB": ("F16", (64,))}, 5, "layers.{}.mlp.up"),
    ],
    "bitsandbytes nf4": [
        blocks({"weight": U8, "weight.absmax": ("U8", (32,)), "weight.quant_map": ("F32", (16,)),
                "weight.nested_absmax": ("F32", (1,)), "weight.nested_quant_map": ("F32", (256,)),
                "weight.quant_state.bitsandbytes__nf4": ("U8", (80,))}),
        blocks({"weight": U8, "weight.absmax": ("F32", (32,)), "weight.quant_map": ("F32", (16,)), "bias": B,
                "weight.quant_state.bitsandbytes__nf4": ("U8", (80,))}, 1),
        blocks({"weight": U8, "weight.quant_state.bitsandbytes__nf4": ("U8", (80,))}, 3, "single.{}.proj"),
    ],
    "bitsandbytes fp4": [
        blocks({"weight": U8, "weight.absmax": ("F32", (32,)), "weight.quant_map": ("F32", (16,)),
                "weight.quant_state.bitsandbytes__fp4": ("U8", (80,))}),
        blocks({"weight": U8, "weight.quant_state.bitsandbytes__fp4": ("U8", (80,))}),
        blocks({"weight": U8, "bias": B, "weight.quant_state.bitsandbytes__fp4": ("U8", (80,))}, 1, "h.{}.c_attn"),
    ],
    "bitsandbytes 4-bit": [
        blocks({"weight": U8, "weight.absmax": ("F32", (32,)), "weight.quant_map": ("F32", (16,))}),
        blocks({"weight": U8, "weight.nested_absmax": ("F32", (1,))}),
        blocks({"weight": U8, "absmax": ("F32", (32,)), "quant_map": ("F32", (16,))}),
    ],
    "SDNQ": [
        blocks({"weight": ("I8", (64, 32)), "scale": ("F32", (64, 1))}),
        blocks({"weight": ("U8", (1024,)), "scale": ("BF16", (64, 1)), "zero_point": ("BF16", (64, 1))}),
        blocks({"weight": ("F8_E4M3", (64, 32)), "scale": ("F32", (64, 1)), "bias": B}),
        blocks({"weight": ("I8", (64, 32)), "scale": ("F32", (64, 1)), "svd_up": ("BF16", (64, 8)),
                "svd_down": ("BF16", (8, 32))}),
    ],
    "fp8 with scales": [
        blocks({"weight": ("F8_E4M3", (64, 32)), "weight_scale": ("F32", ()), "input_scale": ("F32", ())}),
        blocks({"weight": ("F8_E4M3", (64, 32)), "scale_weight": ("F32", (1,))}) | {"scaled_fp8": ("F8_E4M3", (0,))},
        blocks({"weight": ("F8_E5M2", (64, 32)), "weight_scale": ("F32", (64, 1)), "comfy_quant": ("U8", (28,))}),
        blocks({"weight": ("F8_E4M3", (64, 32)), "weight_scale_inv": ("F32", (1, 1)), "bias": B}),
    ],
    "GPTQ": [
        blocks({"qweight": ("I32", (4, 64)), "qzeros": ("I32", (1, 8)), "scales": ("F16", (1, 64)), "g_idx": ("I32", (32,))}),
        blocks({"qweight": ("I32", (4, 64)), "g_idx": ("I32", (32,)), "bias": B}),
        blocks({"qweight": ("I32", (4, 64)), "qzeros": ("I32", (1, 8)), "g_idx": ("I64", (32,))}, 1, "model.layers.{}.q"),
    ],
    "AWQ or GPTQ": [
        blocks({"qweight": ("I32", (32, 8)), "qzeros": ("I32", (1, 8)), "scales": ("F16", (1, 64))}),
        blocks({"qweight": ("I16", (16, 32)), "scales": ("BF16", (1, 64))}),
        blocks({"qweight": ("U8", (64, 16)), "qzeros": ("U8", (1, 8))}, 4),
    ],
    "MLX": [
        blocks({"weight": ("U32", (64, 4)), "scales": ("BF16", (64, 1)), "biases": ("BF16", (64, 1))}),
        blocks({"weight": ("U32", (64, 8)), "scales": ("F16", (64, 2)), "biases": ("F16", (64, 2)), "bias": B}),
        blocks({"weight": ("U32", (64, 4)), "scales": ("U8", (64, 1))}),
    ],
    "SVDQuant (nunchaku)": [
        blocks({"qweight": ("I8", (64, 16)), "wscales": ("BF16", (1, 64)), "smooth_factor": ("BF16", (32,)),
                "proj_down": ("BF16", (32, 8)), "proj_up": ("BF16", (64, 8))}),
        blocks({"qweight": ("I32", (8, 16)), "wscales": ("BF16", (1, 64)), "wzeros": ("BF16", (1, 64))}),
        blocks({"qweight": ("I8", (64, 16)), "wtscale": ("BF16", ()), "lora_up": ("BF16", (64, 8)), "lora_down": ("BF16", (32, 8))}),
    ],
    "quanto": [
        blocks({"weight._data": ("I8", (64, 32)), "weight._scale": ("BF16", (64, 1)), "input_scale": ("BF16", ())}),
        blocks({"weight._data": ("U8", (32, 32)), "weight._scale": ("BF16", (64, 1)), "weight._shift": ("BF16", (64, 1))}),
        blocks({"weight._packed": ("U8", (32, 32)), "bias": B}),
    ],
    "torchao": [
        blocks({"_weight_qdata": ("I8", (64, 32)), "_weight_scale": ("F32", (64, 1))}),
        blocks({"weight:qdata": ("F8_E4M3", (64, 32)), "weight:scale": ("F32", (64, 1))}),
        blocks({"_weight_qdata": ("I8", (64, 16)), "_weight_scale": ("BF16", (64, 1)), "_weight_zero_point": ("I8", (64, 1))}),
    ],
    "compressed-tensors": [
        blocks({"weight_packed": ("I32", (64, 4)), "weight_scale": ("BF16", (64, 1)), "weight_shape": ("I64", (2,))}),
        blocks({"weight_packed": ("U8", (64, 16)), "weight_scale": ("F8_E4M3", (64, 2)), "weight_global_scale": ("F32", (1,)),
                "input_global_scale": ("F32", (1,))}),
        blocks({"weight_packed": ("I32", (64, 4)), "weight_g_idx": ("I32", (32,)), "bias": B}),
    ],
    "NVFP4 (ModelOpt)": [
        blocks({"weight": ("U8", (64, 16)), "weight_scale": ("F8_E4M3", (64, 2)), "weight_scale_2": ("F32", ())}),
        blocks({"weight": ("F4", (64, 32)), "weight_scale": ("F8_E4M3", (64, 2)), "weight_scale_2": ("F32", ()),
                "input_scale": ("F32", ())}),
        blocks({"weight": ("U8", (64, 16)), "weight_double_scale": ("F32", ())}),
    ],
    "HQQ": [
        blocks({"W_q": ("U8", (32, 32)), "scale": ("F16", (64, 1)), "zero": ("F16", (64, 1))}),
        blocks({"W_q": ("I32", (8, 32)), "scale": ("F16", (64, 1)), "group_size": ("I32", ()), "nbits": ("I32", ())}),
        blocks({"W_q": ("U8", (32, 32)), "bias": B}, 1),
    ],
    "QuIP#": [
        blocks({"Qidxs": ("I64", (64, 4)), "SU": ("F16", (32,)), "SV": ("F16", (64,)), "Wscale": ("F32", ())}),
        blocks({"Qidxs": ("I16", (64, 8)), "codebook_id": ("I64", ())}),
        blocks({"Qidxs_list": ("I64", (2, 64, 4)), "SU": ("F16", (32,)), "bias": B}, 1),
    ],
    "EETQ": [
        blocks({"weight": ("I8", (32, 64)), "weight_scales": ("F16", (64,))}),
        blocks({"weight": ("I8", (32, 64)), "weight_scales": ("F16", (64,)), "bias": B}),
        blocks({"weight": ("I8", (32, 64)), "weight_scales": ("BF16", (64,))}, 3, "h.{}.fc"),
    ],
    "F8_E4M3 without scales": [
        blocks({"weight": ("F8_E4M3", (64, 32))}),
        blocks({"weight": ("F8_E4M3", (64, 32)), "bias": ("F8_E4M3", (64,))}),
        blocks({"weight": ("F8_E4M3", (64, 32)), "bias": B}, 3, "single_transformer_blocks.{}.proj"),
    ],
    "I8 of an unknown scheme": [
        blocks({"weight": ("I8", (64, 32)), "odd_companion": F32}),
        blocks({"weight": ("I8", (64, 32))}),
        blocks({"kernel_q": ("I8", (64, 32)), "gain": F32}),
    ],
}  # fmt: skip
CASES = [(scheme, number) for scheme, inputs in QUANTIZED.items() for number in range(len(inputs))]


def drafted(folder, table: dict, config: dict | None = None, metadata: dict | None = None):
    write_typed(folder / "transformer/diffusion_pytorch_model.safetensors", table, metadata)
    component = open_checkpoint(str(folder)).components["transformer"]
    component.config |= config or {}
    return draft_component(component, "transformer", port_from_answers(ANSWERS))


@pytest.mark.parametrize(("scheme", "number"), CASES)
def test_a_quantized_file_is_named_and_never_drafted_as_arrays(diffusers_folder, scheme, number):
    table = QUANTIZED[scheme][number]
    (kind,) = classify(tensors(table)).kinds
    assert kind.id == scheme and kind.blocks
    assert set(kind.names) == {name for name in table if ".norm." not in name}
    draft = drafted(diffusers_folder, table)
    (entry,) = [entry for entry in draft.unresolved if ".norm" not in entry.name]
    assert entry.name == scheme and scheme in entry.why and ("unquantized" in entry.candidates[0] or scheme == "MLX")
    assert {target.from_pattern for target in draft.mapping.targets} <= {
        name.replace(f".{block}.", part) for name in table for block in "01234" for part in ("." + block + ".", ".{block}.")
        if ".norm." in name
    }  # fmt: skip
    assert not any("mx.zeros" in text for text in draft.files.values()) and not draft.lora


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq 4"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX 4"),
        ({"quantization_config": {"quant_method": "sdnq", "weights_dtype": "int8"}}, "sdnq int8"),
    ],
)
def test_a_config_names_the_quantization(config, named):
    (kind,) = classify(tensors(QUANTIZED["bitsandbytes int8"][0]), config).kinds
    assert f"config.json says {named}" in kind.what
    (kind,) = classify(tensors(blocks({"weight": W})), config).kinds
    assert not kind.blocks and f"config.json names the quantization {named}" in kind.what


MODEL = blocks({"weight": W, "bias": B}, 3) | {"proj_out.weight": W}


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "model.diffusion_model.", "diffusion_model.", "net.", "module._orig_mod.", "student_model.",
     "model.", "my.own.wrapper."],
)  # fmt: skip
def test_a_wrapper_is_left_out(diffusers_folder, prefix):
    plain = drafted(diffusers_folder, MODEL)
    wrapped = drafted(diffusers_folder, {prefix + name: entry for name, entry in MODEL.items()})
    assert wrapped.files == plain.files and wrapped.lora == plain.lora and plain.lora
    assert [target.to_pattern for target in wrapped.mapping.targets] == [
        one.to_pattern for one in plain.mapping.targets
    ]
    assert all(target.from_pattern.startswith(prefix) for target in wrapped.mapping.targets)
    assert [target.count for target in wrapped.mapping.targets] == [target.count for target in plain.mapping.targets]


@pytest.mark.parametrize("part", ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"])
def test_a_wrapper_in_the_middle_of_names_is_left_out(diffusers_folder, part):
    plain = drafted(diffusers_folder, MODEL)
    table = {name.replace(".attn.", f".{part}.attn.{part}."): entry for name, entry in MODEL.items()}
    wrapped = drafted(diffusers_folder, table)
    assert wrapped.files == plain.files
    assert f"blocks.{{block}}.{part}.attn.{part}.to_q.weight" in {one.from_pattern for one in wrapped.mapping.targets}


@pytest.mark.parametrize(
    "names",
    [
        ["a.weight"],
        ["proj.weight", "proj.bias"],
        ["blocks.0.q.weight", "blocks.1.q.weight"],
        ["encoder.layers.0.q.weight", "encoder.layers.1.q.weight"],
    ],
)
def test_prefix_that_is_not_a_wrapper_stays(names):
    classified = classify(tensors(dict.fromkeys(names, W)))
    assert classified.kinds == [] and list(classified.loadable()) == names


def copies(plain: str, averaged: str) -> dict:
    return {plain + name: entry for name, entry in MODEL.items()} | {averaged + name: e for name, e in MODEL.items()}


@pytest.mark.parametrize(
    "table",
    [
        copies("", "ema."),
        copies("model.", "ema_model."),
        copies("model.diffusion_model.", "model.ema_model."),
        copies("generator.", "generator_ema."),
        copies("student.", "teacher."),
        {f"model.diffusion_model.{name}": entry for name, entry in MODEL.items()}
        | {"model_ema." + f"diffusion_model.{name}".replace(".", ""): entry for name, entry in MODEL.items()}
        | {"model_ema.decay": ("F32", ()), "model_ema.num_updates": ("I32", ())},
        MODEL | {f"{name}_ema": entry for name, entry in MODEL.items()},
    ],
)
def test_only_one_of_two_copies_is_used(diffusers_folder, table):
    plain, both = drafted(diffusers_folder, MODEL), drafted(diffusers_folder, table)
    assert both.files == plain.files and len(both.mapping.targets) == len(plain.mapping.targets)
    assert not any("ema" in target.from_pattern or "teacher" in target.from_pattern for target in both.mapping.targets)
    classified = classify(tensors(table))
    assert "EMA copy" in {kind.id for kind in classified.kinds}
    assert len(classified.waived) == len(table) - len(MODEL)


@pytest.mark.parametrize("prefix", ["ema.", "ema_model.", "model.ema_model.", "teacher."])
def test_averaged_weights_alone_are_reported(diffusers_folder, prefix):
    table = {prefix + name: entry for name, entry in MODEL.items()} | {"step": ("I64", ()), "initted": ("BOOL", ())}
    (kind,) = classify(tensors(table)).kinds
    assert kind.id == "wrapper" and "averaged weights (EMA) are the only ones here" in kind.fix
    assert drafted(diffusers_folder, table).files == drafted(diffusers_folder, MODEL).files


@pytest.mark.parametrize("more", [{}, {"model_ema.decay": ("F32", ())}, {"model_ema.num_updates": ("I32", ())}])
def test_averaged_weights_without_dots_cannot_be_drafted(diffusers_folder, more):
    flat = {
        f"model_ema.{name}".replace(".", "").replace("model_ema", "model_ema."): entry for name, entry in MODEL.items()
    }
    (kind,) = classify(tensors(flat | more)).kinds
    assert kind.id == "EMA copy alone" and set(kind.names) == set(flat)
    assert not drafted(diffusers_folder, flat | more).mapping.targets


@pytest.mark.parametrize(
    "table",
    [
        {"target_proj.weight": W, "blocks.0.q.weight": W},
        {"ema_gate.weight": ("BF16", (8, 8)), "gate.weight": W},
        {"image_encoder.blocks.0.q.weight": W, "text_encoder.blocks.0.q.weight": W},
    ],
)
def test_name_that_only_resembles_a_copy_stays(table):
    assert not classify(tensors(table)).waived


ADAPTERS = [
    blocks({"base_layer.weight": W, "lora_A.default.weight": ("BF16", (4, 32)), "lora_B.default.weight": ("BF16", (64, 4))}),
    blocks({"weight": W, "lora_A.weight": ("BF16", (4, 32)), "lora_B.weight": ("BF16", (64, 4))}, 1),
    blocks({"base_layer.weight": W, "base_layer.bias": B, "lora_magnitude_vector.default.weight": B,
            "lora_A.default.weight": ("BF16", (4, 32)), "lora_B.default.weight": ("BF16", (64, 4))}, 3),
    blocks({"original_module.weight": W, "modules_to_save.default.weight": W}),
]  # fmt: skip


@pytest.mark.parametrize("table", ADAPTERS)
def test_an_adapter_that_is_not_merged_is_unresolved(diffusers_folder, table):
    (kind,) = classify(tensors(table)).kinds
    assert kind.id == "unmerged adapter" and "merge" in kind.fix
    draft = drafted(diffusers_folder, table)
    assert "unmerged adapter" in {entry.name for entry in draft.unresolved} and not draft.lora
    assert all("norm" in target.from_pattern for target in draft.mapping.targets)
    assert not any("lora" in text.lower() or "base_layer" in text for text in draft.files.values())


@pytest.mark.parametrize(
    "names",
    [("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight", "alpha"), ("lokr_w1", "lokr_w2", "alpha"),
     ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("a1.weight", "a2.weight", "b1.weight", "b2.weight"), ("diff", "diff_b"),
     ("oft_diag", "rescale"), ("w_norm", "b_norm"), ("processor.to_q_lora.down.weight", "processor.to_q_lora.up.weight"),
     ("lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector.default.weight"), ("weight.set_weight",)],
)  # fmt: skip
def test_lora_file_is_not_a_checkpoint(names):
    table = {f"transformer.blocks.{n}.attn.to_q.{name}": ("BF16", (4, 4)) for n in range(2) for name in names}
    (kind,) = classify(tensors(table)).kinds
    assert kind.id == "LoRA file" and "ledger --lora" in kind.fix and set(kind.names) == set(table)


KOHYA = {
    f"lora_unet_blocks_{n}_attn_to_q.{name}": ("F16", (4, 4))
    for n in range(2)
    for name in ("lora_down.weight", "alpha")
}
BESIDE = [
    ("LoRA file", KOHYA | {"bundle_emb.word.string_to_param.*": ("F32", (2, 768))}),
    ("LoRA file", KOHYA | {"bundle_emb.word.clip_l": ("F32", (2, 768)), "bundle_emb.word.t5xxl": ("F32", (2, 4096))}),
    ("LoRA file", {"lora_te1_layers_0_q_proj.weight": ("F16", (4,)), "lora_te1_layers_0_q_proj.on_input": ("BOOL", ())}),
    ("text embedding", {"emb_params": ("F32", (4, 768))}),
    ("text embedding", {"clip_l": ("F16", (4, 768)), "clip_g": ("F16", (4, 1280))}),
    ("text embedding", {"string_to_param.*": ("F32", (2, 768))}),
    ("IP-Adapter", {"image_proj.proj.weight": W, "ip_adapter.1.to_k_ip.weight": W}),
    ("IP-Adapter", {f"ip_adapter.{n}.to_{name}_ip.weight": W for n in range(3) for name in "kv"}),
    ("IP-Adapter", {"image_proj.latents": ("F32", (1, 16, 64)), "image_proj.layers.0.0.norm1.weight": NORM}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "table"), BESIDE)
def test_add_on_file_is_not_a_checkpoint(diffusers_folder, kind, table):
    (found,) = classify(tensors(table)).kinds
    assert found.id == kind and set(found.names) == set(table) and "checkpoint" in found.fix
    draft = drafted(diffusers_folder, table)
    assert [entry.name for entry in draft.unresolved] == [kind] and not draft.mapping.targets and not draft.lora


MLX_CONV = {"conv_in.weight": ("BF16", (64, 3, 3, 16)), "conv_in.bias": B}
LAYOUTS = {
    "MLX layout": [
        (MODEL, {"format": "mlx"}),
        (MODEL | MLX_CONV, {}),
        (MODEL | {"down.0.conv.weight": ("BF16", (64, 3, 3, 3, 32))}, {}),
        (MODEL | {"patch.weight": ("BF16", (64, 16, 16, 3))}, {"format": "pt"}),
        (MODEL | {"shortcut.weight": ("BF16", (64, 1, 1, 32))}, {}),
    ],
    "mixed layout": [
        (MODEL | MLX_CONV | {"conv_out.weight": ("BF16", (16, 64, 3, 3))}, {}),
        (MODEL | MLX_CONV | {"time.weight": ("BF16", (64, 64, 3))}, {}),
        (MODEL | {"a.weight": ("BF16", (64, 1, 5, 5)), "b.weight": ("BF16", (64, 5, 5, 1))}, {}),
    ],
    "saved by mflux": [
        (MODEL, {"mflux_version": "0.24.0", "quantization_level": "8"}),
        (MODEL, {"quantization_level": "None", "mflux_version": "0.18.1"}),
        (MODEL, {"mflux_version": "0.20.0"}),
    ],
    "Flax layout": [
        (MODEL, {"format": "flax"}),
        ({"blocks.0.attn.kernel": W, "blocks.0.attn.bias": B, "blocks.1.attn.kernel": W}, {}),
        ({"conv_in.kernel": ("F32", (3, 3, 4, 64)), "mid.norm.scale": NORM}, {"format": "np"}),
    ],
    "GGUF layout": [
        ({"blk.0.attn_q.weight": W, "token_embd.weight": W}, {}),
        (MODEL, {"general.architecture": "flux"}),
        ({f"blk.{n}.ffn_up.weight": W for n in range(3)} | {"token_embd.weight": W, "output_norm.weight": NORM}, {}),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, inputs in LAYOUTS.items() for n in range(len(inputs))]
)
def test_another_layout_is_named_and_not_drafted(diffusers_folder, kind, number):
    table, metadata = LAYOUTS[kind][number]
    (found,) = classify(tensors(table), metadata=metadata).kinds
    assert found.id == kind and found.fix
    draft = drafted(diffusers_folder, table, metadata=metadata)
    assert draft.unresolved[0].name == kind
    mapped = {target.from_pattern for target in draft.mapping.targets}
    assert not mapped & set(found.names)


@pytest.mark.parametrize(
    "shape",
    [(64, 3, 3, 3), (8, 4, 3, 3), (64, 1, 3, 3), (64, 32, 1, 1), (320, 4, 1, 1), (96, 3, 3, 3, 3), (384, 192, 3, 1, 1),
     (5120, 16, 1, 2, 2), (1152, 4, 2, 2), (64, 64, 7), (8, 512, 512), (1536, 3, 14, 14)],
)  # fmt: skip
def test_torch_convolution_is_not_mistaken_for_mlx(shape):
    assert classify(tensors({"conv.weight": ("BF16", shape)} | MODEL)).kinds == []


@pytest.mark.parametrize(
    ("name", "entry"),
    [("bn.num_batches_tracked", ("I64", ())), ("text_model.embeddings.position_ids", ("I64", (1, 77))),
     ("layers.0.attn.relative_position_index", ("I64", (49, 49))), ("a.attn_mask", ("BOOL", (7, 7))),
     ("rotary_emb.inv_freq", ("F32", (16,))), ("layers.3.self_attn.rotary_emb.inv_freq", ("F32", (64,))),
     ("betas", ("F32", (1000,))), ("sqrt_one_minus_alphas_cumprod", ("F32", (1000,))), ("denoiser.sigmas", ("F32", (1000,))),
     ("posterior_log_variance_clipped", ("F64", (1000,)))],
)  # fmt: skip
def test_what_a_port_computes_is_waived_with_a_reason(name, entry):
    classified = classify(tensors(MODEL | {name: entry}))
    assert list(classified.waived) == [name] and classified.waived[name] and classified.kinds == []


@pytest.mark.parametrize("name", ["position_ids", "step", "decay", "inv_freq", "sigmas"])
def test_weight_with_the_same_name_is_loaded(name):
    assert classify(tensors(MODEL | {f"embed.{name}": W})).waived == {}


def test_array_that_the_reference_stores_is_loaded():
    classified = classify(tensors(MODEL | {"rope.inv_freq": ("F32", (16,))}))
    assert "rope.inv_freq" not in classified.loadable() and "rope.inv_freq" in classified.loadable(["rope.inv_freq"])


@pytest.mark.parametrize(
    "table",
    [{"a.weight": ("F64", (4, 4))}, {"scale": ("F64", ())}, {f"blocks.{n}.w.bias": ("F64", (8,)) for n in range(3)}],
)
def test_weights_of_64_bits_are_reported(table):
    (kind,) = classify(tensors(MODEL | table)).kinds
    assert "64 bits, which MLX cannot read" in str(kind) and next(iter(table)) in str(kind) and not kind.blocks
