"""Config files of the families that both mflux and diffusers have, as the reference checkpoints have them."""

from __future__ import annotations

from tests.parity.other_references import CLIP, T5
from tests.parity.references import AUTOENCODER_KL, DYNAMIC, FAMILIES, FLUX2_VAE, QWEN3_4B, SCHEDULER

FLOW = ("diffusers", "FlowMatchEulerDiscreteScheduler")
QWEN3_VL_TEXT = {
    **{key: value for key, value in QWEN3_4B.items() if key != "architectures"}, "model_type": "qwen3_vl_text",
    "rope_theta": 5000000.0, "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [24, 20, 20], "mrope_interleaved": True,
    },
}  # fmt: skip
QWEN3_VL = {
    "model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"], "text_config": QWEN3_VL_TEXT,
    "vision_config": {
        "model_type": "qwen3_vl", "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
        "in_channels": 3, "out_hidden_size": 2560, "patch_size": 16, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
        "hidden_act": "gelu_pytorch_tanh",
    },
    "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
    "vision_end_token_id": 151653, "tie_word_embeddings": True,
}  # fmt: skip
QWEN3_VL_8B = {
    **QWEN3_VL, "text_config": {**QWEN3_VL_TEXT, "hidden_size": 4096, "intermediate_size": 12288},
    "vision_config": {**QWEN3_VL["vision_config"], "out_hidden_size": 4096},
}  # fmt: skip
QWEN25_VL = {
    "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "text_config": {
        "model_type": "qwen2_5_vl_text", "vocab_size": 152064, "hidden_size": 3584, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 128000, "rope_theta": 1000000.0, "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
        "bos_token_id": 151643, "eos_token_id": 151645, "tie_word_embeddings": False,
    },
    "vision_config": {
        "model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
        "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
        "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}  # fmt: skip
SMOLLM3 = {
    "model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "vocab_size": 128256, "hidden_size": 2048,
    "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 5000000.0, "max_position_embeddings": 65536,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0}, "tie_word_embeddings": True,
    "no_rope_layers": [1, 1, 1, 0] * 9, "no_rope_layer_interval": 4, "pad_token_id": 128004,
    "bos_token_id": 128000, "eos_token_id": 128012,
}  # fmt: skip
QWEN_VAE = {
    "_class_name": "AutoencoderKLQwenImage", "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2, "attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0,
    "latents_mean": [
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922,
        -0.9497, 0.2503, -0.2921,
    ],
    "latents_std": [
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253,
        2.8251, 1.916,
    ],
}  # fmt: skip
WAN22_VAE = {
    "_class_name": "AutoencoderKLWan", "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
    "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [], "temperal_downsample": [False, True, True],
    "dropout": 0.0, "is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2,
    "scale_factor_spatial": 16, "scale_factor_temporal": 4,
    "latents_mean": [
        -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
        0.157, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
        -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123, -0.0313, -0.1649, 0.0117, 0.0723,
        -0.2839, -0.2083, -0.052, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
    ],
    "latents_std": [
        0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
        0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
        0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
        1.6887, 0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
    ],
}  # fmt: skip


def flux(dev: bool) -> dict:
    """FLUX.1 dev, whose transformer takes the guidance as an input, or schnell."""
    return {
        "_class_name": "FluxPipeline",
        "transformer": ("diffusers", "FluxTransformer2DModel", {
            "patch_size": 1, "in_channels": 64, "out_channels": None, "num_layers": 19, "num_single_layers": 38,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
            "pooled_projection_dim": 768, "guidance_embeds": dev, "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "CLIPTextModel", {**CLIP, "architectures": ["CLIPTextModel"]}),
        "text_encoder_2": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": (*FLOW, {**DYNAMIC} if dev else {**SCHEDULER, "shift": 1.0}),
        "tokenizer": ("transformers", "CLIPTokenizer", {"model_max_length": 77}),
        "tokenizer_2": ("transformers", "T5TokenizerFast", {"model_max_length": 512 if dev else 256}),
    }  # fmt: skip


IDEOGRAM4_TRANSFORMER = ("diffusers", "Ideogram4Transformer2DModel", {
    "in_channels": 128, "num_layers": 34, "attention_head_dim": 256, "num_attention_heads": 18,
    "intermediate_size": 12288, "adaln_dim": 512, "llm_features_dim": 53248, "rope_theta": 5000000,
    "mrope_section": [24, 20, 20], "norm_eps": 1e-5,
})  # fmt: skip
REFERENCES = {
    **FAMILIES,
    "z_image_base": {**FAMILIES["z_image"], "scheduler": (*FLOW, {**SCHEDULER, "shift": 6.0})},
    "flux": flux(dev=False),
    "flux_dev": flux(dev=True),
    "flux_kontext": flux(dev=True) | {"_class_name": "FluxKontextPipeline"},
    "qwen": {
        "_class_name": "QwenImagePipeline",
        "transformer": ("diffusers", "QwenImageTransformer2DModel", {
            "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 3584, "guidance_embeds": False,
            "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration", QWEN25_VL),
        "vae": ("diffusers", "AutoencoderKLQwenImage", QWEN_VAE),
        "scheduler": (*FLOW, {
            **DYNAMIC, "base_image_seq_len": 256, "max_image_seq_len": 8192, "base_shift": 0.5, "max_shift": 0.9,
            "shift_terminal": 0.02,
        }),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "krea2": {
        "_class_name": "Krea2Pipeline",
        "transformer": ("diffusers", "Krea2Transformer2DModel", {
            "in_channels": 64, "num_layers": 28, "attention_head_dim": 128, "num_attention_heads": 48,
            "num_key_value_heads": 12, "intermediate_size": 16384, "timestep_embed_dim": 256, "text_hidden_dim": 2560,
            "num_text_layers": 12, "text_num_attention_heads": 20, "text_num_key_value_heads": 20,
            "text_intermediate_size": 6912, "num_layerwise_text_blocks": 2, "num_refiner_text_blocks": 2,
            "axes_dims_rope": [32, 48, 48], "rope_theta": 1000.0, "norm_eps": 1e-5,
        }),
        "text_encoder": ("transformers", "Qwen3VLModel", QWEN3_VL),
        "vae": ("diffusers", "AutoencoderKLQwenImage", QWEN_VAE),
        "scheduler": (*FLOW, {
            **DYNAMIC, "base_image_seq_len": 256, "max_image_seq_len": 6400, "base_shift": 0.5, "max_shift": 1.15,
        }),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "ideogram4": {
        "_class_name": "Ideogram4Pipeline",
        "transformer": IDEOGRAM4_TRANSFORMER,
        "unconditional_transformer": IDEOGRAM4_TRANSFORMER,
        "text_encoder": ("transformers", "Qwen3VLModel", QWEN3_VL_8B),
        "vae": ("diffusers", "AutoencoderKLFlux2", FLUX2_VAE),
        "scheduler": (*FLOW, {**SCHEDULER, "shift": 1.0}),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "fibo": {
        "_class_name": "BriaFiboPipeline",
        "transformer": ("diffusers", "BriaFiboTransformer2DModel", {
            "patch_size": 1, "in_channels": 48, "num_layers": 8, "num_single_layers": 38, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": None,
            "guidance_embeds": False, "axes_dims_rope": [16, 56, 56], "rope_theta": 10000, "time_theta": 10000,
            "text_encoder_dim": 2048,
        }),
        "text_encoder": ("transformers", "SmolLM3ForCausalLM", SMOLLM3),
        "vae": ("diffusers", "AutoencoderKLWan", WAN22_VAE),
        "scheduler": (*FLOW, {**DYNAMIC, "max_image_seq_len": 8192, "max_shift": 0.9, "shift_terminal": 0.02}),
        "tokenizer": ("transformers", "PreTrainedTokenizerFast", {}),
    },
    "fibo2": {
        "_class_name": "BriaFibo2Pipeline",
        "transformer": ("diffusers", "BriaFibo2Transformer2DModel", {
            "in_channels": 32, "patch_size": 2, "dim": 3584, "n_layers": 44, "n_refiner_layers": 2, "n_heads": 28,
            "norm_eps": 1e-5, "cap_feat_dim": 7680, "injection_layer_ids": [6, 14, 22, 30, 38],
            "perceiver_num_layers": 2, "min_num_gist_tokens": 256, "max_num_gist_tokens": 512, "gist_step": 64,
            "gist_min_text_len": 256, "gist_max_text_len": 2048, "rope_theta": 256.0, "t_scale": 1000.0,
            "axes_dims": [32, 48, 48], "axes_lens": [2048, 512, 512],
        }),
        "text_encoder": ("transformers", "Qwen3VLForConditionalGeneration", QWEN3_VL),
        "vae": ("diffusers", "AutoencoderKLFlux2", FLUX2_VAE),
        "scheduler": (*FLOW, {**DYNAMIC}),
        "processor": ("transformers", "Qwen3VLProcessor", {}),
    },
}  # fmt: skip
REFERENCES["qwen_edit"] = REFERENCES["qwen"] | {
    "_class_name": "QwenImageEditPipeline", "processor": ("transformers", "Qwen2VLProcessor", {}),
}  # fmt: skip
REFERENCES["fibo_edit"] = REFERENCES["fibo"] | {"_class_name": "BriaFiboEditPipeline"}
