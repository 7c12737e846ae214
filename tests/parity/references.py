"""Config files as the reference checkpoints of three families have them: real structure and sizes, no weights."""

from __future__ import annotations

import json
from pathlib import Path

QWEN3_4B = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 2560,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 9728, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
    "rope_theta": 1000000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "hidden_act": "silu", "attention_bias": False, "bos_token_id": 151643, "eos_token_id": 151645,
}  # fmt: skip
MINISTRAL3 = {
    "model_type": "ministral3", "vocab_size": 131072, "hidden_size": 3072, "num_hidden_layers": 26,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9216,
    "max_position_embeddings": 262144, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1000000.0, "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 16384,
    },
}  # fmt: skip
AUTOENCODER_KL = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 1024,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "act_fn": "silu",
    "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False,
    "force_upcast": True, "mid_block_add_attention": True,
}  # fmt: skip
FLUX2_VAE = {
    "_class_name": "AutoencoderKLFlux2", "in_channels": 3, "out_channels": 3, "latent_channels": 32,
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 1024,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "act_fn": "silu",
    "use_quant_conv": True, "use_post_quant_conv": True, "batch_norm_eps": 1e-4, "patch_size": [2, 2],
}  # fmt: skip
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
DYNAMIC = {
    **SCHEDULER, "shift": 1.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15,
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "time_shift_type": "exponential",
}  # fmt: skip
FAMILIES: dict[str, dict[str, tuple[str, str, dict]]] = {
    "z_image": {
        "_class_name": "ZImagePipeline",
        "transformer": ("diffusers", "ZImageTransformer2DModel", {
            "all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 3840, "n_layers": 30,
            "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "norm_eps": 1e-5, "qk_norm": True,
            "cap_feat_dim": 2560, "rope_theta": 256.0, "t_scale": 1000.0, "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
        }),
        "text_encoder": ("transformers", "Qwen3ForCausalLM", QWEN3_4B),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**DYNAMIC}),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "flux2": {
        "_class_name": "Flux2KleinPipeline",
        "transformer": ("diffusers", "Flux2Transformer2DModel", {
            "patch_size": 1, "in_channels": 128, "out_channels": None, "num_layers": 5, "num_single_layers": 20,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 7680,
            "timestep_guidance_channels": 256, "mlp_ratio": 3.0, "axes_dims_rope": [32, 32, 32, 32],
            "rope_theta": 2000, "eps": 1e-6, "guidance_embeds": False,
        }),
        "text_encoder": ("transformers", "Qwen3ForCausalLM", QWEN3_4B),
        "vae": ("diffusers", "AutoencoderKLFlux2", FLUX2_VAE),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**DYNAMIC, "shift": 3.0}),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "ernie_image": {
        "_class_name": "ErnieImagePipeline",
        "transformer": ("diffusers", "ErnieImageTransformer2DModel", {
            "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 36, "ffn_hidden_size": 12288,
            "in_channels": 128, "out_channels": 128, "patch_size": 1, "text_in_dim": 3072, "rope_theta": 256,
            "rope_axes_dim": [32, 48, 48], "eps": 1e-6, "qk_layernorm": True,
        }),
        "text_encoder": ("transformers", "Mistral3Model", {
            "model_type": "mistral3", "text_config": MINISTRAL3, "image_token_index": 10, "spatial_merge_size": 2,
            "vision_config": {
                "model_type": "pixtral", "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24,
                "head_dim": 64, "intermediate_size": 4096, "image_size": 1540, "patch_size": 14, "num_channels": 3,
            },
        }),
        "vae": ("diffusers", "AutoencoderKLFlux2", FLUX2_VAE),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 4.0}),
        "tokenizer": ("transformers", "PreTrainedTokenizerFast", {}),
    },
}  # fmt: skip


def write_reference(reference: dict, folder: Path) -> Path:
    """Write the config files of a reference, as a download without weights has them."""
    parts = {name: part for name, part in reference.items() if name != "_class_name"}
    index = {"_class_name": reference["_class_name"], "_diffusers_version": "0.42.1"}
    for name, (library, kind, config) in parts.items():
        index[name] = [library, kind]
        stem = "tokenizer" if "tokenizer" in name else name
        file = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}.get(stem, "config.json")
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        if kind.endswith("VLProcessor"):  # a tokenizer with an image processor
            settings = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": kind}
            path.with_name("preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
        if "post_processor" in config:  # what a tokenizer puts around every text
            part = {"post_processor": config["post_processor"]}
            path.with_name("tokenizer.json").write_text(json.dumps(part), encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder
