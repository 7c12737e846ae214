"""Run inside an environment with diffusers: writes reference checkpoints, headers only, in the diffusers layout.

``build_references.py OUT`` makes OUT/<family>-<size> for each family, from models on the meta device: config.json files
and sparse safetensors files (a header, and a hole where the data would be). Nothing here comes from the code under
test.
"""

import json
import os
import struct
import sys
from pathlib import Path

import diffusers
import torch
import transformers

TYPES = {torch.bfloat16: ("BF16", 2), torch.int64: ("I64", 8), torch.float32: ("F32", 4)}

FAMILIES = {
    "z_image": {
        "pipeline": "ZImagePipeline",
        "transformer": ("ZImageTransformer2DModel", {}, {"dim": 64, "n_layers": 3, "n_heads": 2, "n_kv_heads": 2,
                        "cap_feat_dim": 48, "axes_dims": [8, 12, 12]}),
        "vae": ("AutoencoderKL", {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False,
                "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "scaling_factor": 0.3611,
                "shift_factor": 0.1159, "down_block_types": ["DownEncoderBlock2D"] * 4,
                "up_block_types": ["UpDecoderBlock2D"] * 4}, {"block_out_channels": [32, 32, 64, 64]}),
        "text_encoder": ("Qwen3Model", {"hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 9728,
                         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
                         {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4,
                          "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100}),
        "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": False},
        "index": {},
    },
    "flux2_klein": {
        "pipeline": "Flux2KleinPipeline",
        "transformer": ("Flux2Transformer2DModel", {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24,
                        "joint_attention_dim": 7680, "guidance_embeds": False},
                        {"num_layers": 2, "num_single_layers": 3, "num_attention_heads": 2, "attention_head_dim": 32,
                         "joint_attention_dim": 48, "axes_dims_rope": [8, 8, 8, 8]}),
        "vae": ("AutoencoderKLFlux2", {}, {"block_out_channels": [32, 32, 64, 64]}),
        "text_encoder": ("Qwen3ForCausalLM", {"hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 9728,
                         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                         "tie_word_embeddings": True},
                         {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4,
                          "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100}),
        "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": True},
        "index": {"is_distilled": True},
    },
    "qwen_image": {
        "pipeline": "QwenImagePipeline",
        "transformer": ("QwenImageTransformer2DModel", {}, {"num_layers": 2, "num_attention_heads": 2,
                        "attention_head_dim": 32, "joint_attention_dim": 48, "axes_dims_rope": [8, 12, 12]}),
        "vae": ("AutoencoderKLQwenImage", {}, {"base_dim": 32}),
        "text_encoder": ("Qwen2_5_VLForConditionalGeneration", {
            "text_config": {"hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944,
                            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
            "vision_config": {"out_hidden_size": 3584}}, {
            "text_config": {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4,
                            "num_key_value_heads": 2, "vocab_size": 100},
            "vision_config": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 40,
                              "out_hidden_size": 48, "fullatt_block_indexes": [1]}}),
        "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "use_dynamic_shifting": True,
                      "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02,
                      "time_shift_type": "exponential"},
        "index": {},
    },
}  # fmt: skip


def build(class_name, options):
    """A reference module on the meta device in bfloat16, and its config.json."""
    with torch.device("meta"):
        if hasattr(diffusers, class_name):
            module = getattr(diffusers, class_name)(**options)
            config = json.loads(module.to_json_string())
        else:
            cls = getattr(transformers, class_name)
            module = cls(cls.config_class(**options))
            config = json.loads(module.config.to_json_string(use_diff=False)) | {"architectures": [class_name]}
    return module.to(torch.bfloat16), config


def saved_tensors(module):
    """The tensors as save_pretrained writes them: tied ones once, Qwen2.5-VL's under the names in repos on the Hub."""
    seen, tensors = set(), {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if type(module).__name__.startswith("Qwen2_5_VL"):
            name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        if type(module).__name__ == "Qwen3Model":
            name = f"model.{name}"
        tensors[name] = (TYPES[tensor.dtype], tuple(tensor.shape))
    return tensors


def write_file(path, tensors):
    header, end = {}, 0
    for name, ((dtype, width), shape) in tensors.items():
        size = width * int(torch.Size(shape).numel())
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
    os.truncate(path, 8 + len(raw) + end)
    return end


def write_component(folder, module, config, base, shards):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = saved_tensors(module)
    names = list(tensors)
    if shards == 1:
        write_file(folder / f"{base}.safetensors", tensors)
        return
    weight_map = {}
    for number in range(shards):
        shard = f"{base}-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        write_file(folder / shard, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, shard)
    (folder / f"{base}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_family(out, family, tiny):
    facts = FAMILIES[family]
    root = out / f"{family}-{'tiny' if tiny else 'full'}"
    index = {"_class_name": facts["pipeline"], **facts["index"]}
    for part in ("transformer", "vae", "text_encoder"):
        class_name, options, small = facts[part]
        module, config = build(class_name, options | (small if tiny else {}))
        library = "diffusers" if hasattr(diffusers, class_name) else "transformers"
        index[part] = [library, class_name]
        base = "diffusion_pytorch_model" if library == "diffusers" else "model"
        write_component(root / part, module, config, base, 1 if tiny or part == "vae" else 3)
    (root / "scheduler").mkdir()
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(facts["scheduler"]))
    (root / "tokenizer").mkdir()
    (root / "tokenizer" / "tokenizer.json").write_text("{}")
    (root / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    (root / "model_index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    for name in FAMILIES:
        for small in (False, True):
            write_family(Path(sys.argv[1]), name, small)
