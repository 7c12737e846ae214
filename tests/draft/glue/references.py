"""Config files of families that were never ported by hand in this project: real structure, no weights."""

from __future__ import annotations

from tests.parity.other_references import CLIP, SDXL_VAE, SHORT, T5
from tests.parity.references import AUTOENCODER_KL, DYNAMIC, QWEN3_4B, SCHEDULER

GLM = {
    "model_type": "glm", "architectures": ["GlmModel"], "hidden_size": 4096, "intermediate_size": 13696,
    "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 151552,
    "attention_bias": True, "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1.5625e-07,
    "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "tie_word_embeddings": False, "pad_token_id": 0,
}  # fmt: skip
GEMMA2 = {
    "model_type": "gemma2", "architectures": ["Gemma2Model"], "vocab_size": 256000, "hidden_size": 2304,
    "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0, "attention_bias": False, "pad_token_id": 0,
}  # fmt: skip
GEMMA = {
    "model_type": "gemma", "architectures": ["GemmaModel"], "vocab_size": 256000, "hidden_size": 2048,
    "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1,
    "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "attention_bias": False, "pad_token_id": 0,
}  # fmt: skip
BEGINS = {"add_bos_token": True, "bos_token": "<bos>", "eos_token": "<eos>"}  # every text begins with that token
T5_GEMMA = {**GEMMA2, "model_type": "t5_gemma_module", "architectures": None}
QWEN25_VL = {
    "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"], "hidden_size": 3584,
    "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "hidden_act": "silu",
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "max_position_embeddings": 128000,
    "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
    "vision_config": {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}  # fmt: skip
QWEN_VAE = {
    "_class_name": "AutoencoderKLQwenImage", "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    "attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0,
    "latents_mean": [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
                     -0.3632, -0.1922, -0.9497, 0.2503, -0.2921],
    "latents_std": [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
                    1.6382, 1.1253, 2.8251, 1.916],
}  # fmt: skip
REFERENCES: dict[str, dict] = {
    "ovis_image": {
        "_class_name": "OvisImagePipeline",
        "transformer": ("diffusers", "OvisImageTransformer2DModel", {
            "patch_size": 1, "in_channels": 64, "out_channels": 64, "num_layers": 6, "num_single_layers": 27,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 2048,
            "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "Qwen3Model", {
            **QWEN3_4B, "architectures": ["Qwen3Model"], "hidden_size": 2048, "num_hidden_layers": 28,
            "num_attention_heads": 16, "intermediate_size": 6144,
        }),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**DYNAMIC, "shift": 3.0}),
        "tokenizer": ("transformers", "Qwen2TokenizerFast", {}),
    },
    "lumina2": {
        "_class_name": "Lumina2Pipeline",
        "transformer": ("diffusers", "Lumina2Transformer2DModel", {
            "sample_size": 128, "patch_size": 2, "in_channels": 16, "hidden_size": 2304, "num_layers": 26,
            "num_refiner_layers": 2, "num_attention_heads": 24, "num_kv_heads": 8, "multiple_of": 256, "norm_eps": 1e-5,
            "scaling_factor": 1.0, "axes_dim_rope": [32, 32, 32], "axes_lens": [300, 512, 512], "cap_feat_dim": 2304,
        }),
        "text_encoder": ("transformers", "Gemma2Model", GEMMA2),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 6.0}),
        "tokenizer": ("transformers", "GemmaTokenizerFast", BEGINS),
    },
    "cogview4": {
        "_class_name": "CogView4Pipeline",
        "transformer": ("diffusers", "CogView4Transformer2DModel", {
            "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 28, "attention_head_dim": 128,
            "num_attention_heads": 32, "text_embed_dim": 4096, "time_embed_dim": 512, "condition_dim": 256,
            "pos_embed_max_size": 128, "sample_size": 128, "rope_axes_dim": [256, 256],
        }),
        "text_encoder": ("transformers", "GlmModel", GLM),
        "vae": ("diffusers", "AutoencoderKL", {**AUTOENCODER_KL, "scaling_factor": 1.0, "shift_factor": 0.0}),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {
            **DYNAMIC, "base_shift": 0.25, "max_shift": 0.75, "time_shift_type": "linear",
        }),
        "tokenizer": ("transformers", "PreTrainedTokenizerFast", {"post_processor": {
            "type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "[gMASK]", "type_id": 0}}, {"SpecialToken": {"id": "<sop>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
        }}),
    },
    "qwen_image": {
        "_class_name": "QwenImagePipeline",
        "transformer": ("diffusers", "QwenImageTransformer2DModel", {
            "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 3584, "guidance_embeds": False,
            "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration", QWEN25_VL),
        "vae": ("diffusers", "AutoencoderKLQwenImage", QWEN_VAE),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {
            **DYNAMIC, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02,
        }),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
    },
    "flux": {  # a CLIP of a size that mflux does not have, and mflux's own T5
        "_class_name": "FluxPipeline",
        "transformer": ("diffusers", "FluxTransformer2DModel", {
            "patch_size": 1, "in_channels": 64, "num_layers": 4, "num_single_layers": 6, "attention_head_dim": 128,
            "num_attention_heads": 12, "joint_attention_dim": 4096, "pooled_projection_dim": 512,
            "guidance_embeds": True, "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "CLIPTextModel", {
            **CLIP, "architectures": ["CLIPTextModel"], "hidden_size": 512, "intermediate_size": 2048,
            "num_attention_heads": 8, "hidden_act": "gelu",
        }),
        "text_encoder_2": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", DYNAMIC),
        "tokenizer": ("transformers", "CLIPTokenizer", SHORT),
        "tokenizer_2": ("transformers", "T5TokenizerFast", {}),
    },
    "chroma": {  # a mask over the prompt and the image
        "_class_name": "ChromaPipeline",
        "transformer": ("diffusers", "ChromaTransformer2DModel", {
            "patch_size": 1, "in_channels": 64, "out_channels": 64, "num_layers": 19, "num_single_layers": 38,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
            "axes_dims_rope": [16, 56, 56], "approximator_num_channels": 64, "approximator_hidden_dim": 5120,
            "approximator_layers": 5,
        }),
        "text_encoder": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "use_beta_sigmas": True}),
        "tokenizer": ("transformers", "T5TokenizerFast", {}),
    },
    "hunyuan_image": {  # two encoders, the second only for quoted text; a VAE of scale 32
        "_class_name": "HunyuanImagePipeline",
        "transformer": ("diffusers", "HunyuanImageTransformer2DModel", {
            "in_channels": 64, "out_channels": 64, "num_attention_heads": 28, "attention_head_dim": 128,
            "num_layers": 20, "num_single_layers": 40, "num_refiner_layers": 2, "mlp_ratio": 4.0,
            "patch_size": [1, 1], "qk_norm": "rms_norm", "guidance_embeds": False, "text_embed_dim": 3584,
            "text_embed_2_dim": 1472, "rope_theta": 256.0, "rope_axes_dim": [64, 64],
        }),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration", QWEN25_VL),
        "text_encoder_2": ("transformers", "T5EncoderModel", {
            **T5, "d_model": 1472, "d_ff": 3584, "num_heads": 6, "num_layers": 12, "vocab_size": 1510,
        }),
        "vae": ("diffusers", "AutoencoderKLHunyuanImage", {
            "in_channels": 3, "out_channels": 3, "latent_channels": 64, "layers_per_block": 2, "sample_size": 384,
            "block_out_channels": [128, 256, 512, 512, 1024, 1024], "spatial_compression_ratio": 32,
            "scaling_factor": 0.75289, "downsample_match_channel": True, "upsample_match_channel": True,
        }),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 5.0}),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
        "tokenizer_2": ("transformers", "ByT5Tokenizer", {}),
    },
    "bria": {  # latents of four channels, packed; zeros as the unconditional prompt
        "_class_name": "BriaPipeline",
        "transformer": ("diffusers", "BriaTransformer2DModel", {
            "patch_size": 1, "in_channels": 16, "num_layers": 8, "num_single_layers": 28, "attention_head_dim": 96,
            "num_attention_heads": 24, "joint_attention_dim": 4096, "axes_dims_rope": [0, 48, 48],
        }),
        "text_encoder": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", {**SDXL_VAE, "shift_factor": None}),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**DYNAMIC, "shift": 3.0}),
        "tokenizer": ("transformers", "T5TokenizerFast", {"model_max_length": 512}),
    },
    "lumina_next": {  # a rotary table as an argument, guidance of three channels
        "_class_name": "LuminaPipeline",
        "transformer": ("diffusers", "LuminaNextDiT2DModel", {
            "sample_size": 128, "patch_size": 2, "in_channels": 4, "hidden_size": 2304, "num_layers": 24,
            "num_attention_heads": 32, "num_kv_heads": 8, "multiple_of": 256, "ffn_dim_multiplier": None,
            "norm_eps": 1e-5, "learn_sigma": True, "qk_norm": True, "cross_attention_dim": 2048, "scaling_factor": 1.0,
        }),
        "text_encoder": ("transformers", "GemmaModel", GEMMA),
        "vae": ("diffusers", "AutoencoderKL", SDXL_VAE),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", SCHEDULER),
        "tokenizer": ("transformers", "GemmaTokenizerFast", BEGINS),
    },
    "sana": {  # an instruction before the prompt, a deep VAE, a multistep solver
        "_class_name": "SanaPipeline",
        "transformer": ("diffusers", "SanaTransformer2DModel", {
            "in_channels": 32, "out_channels": 32, "num_attention_heads": 70, "attention_head_dim": 32,
            "num_layers": 20, "num_cross_attention_heads": 20, "cross_attention_head_dim": 112,
            "cross_attention_dim": 2240, "caption_channels": 2304, "mlp_ratio": 2.5, "sample_size": 32, "patch_size": 1,
            "attention_bias": False, "norm_elementwise_affine": False, "norm_eps": 1e-6, "interpolation_scale": None,
        }),
        "text_encoder": ("transformers", "Gemma2Model", GEMMA2),
        "vae": ("diffusers", "AutoencoderDC", {
            "in_channels": 3, "latent_channels": 32, "attention_head_dim": 32, "scaling_factor": 0.41407,
            "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
            "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
            "encoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            "decoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            "encoder_layers_per_block": [2, 2, 2, 3, 3, 3], "decoder_layers_per_block": [3] * 6,
            "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
            "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
            "upsample_block_type": "interpolate", "downsample_block_type": "Conv",
            "decoder_act_fns": "silu", "decoder_norm_types": "rms_norm",
        }),
        "scheduler": ("diffusers", "DPMSolverMultistepScheduler", {
            "_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 1000, "algorithm_type": "dpmsolver++",
            "solver_order": 2, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0,
            "final_sigmas_type": "zero", "lower_order_final": True,
        }),
        "tokenizer": ("transformers", "GemmaTokenizerFast", BEGINS),
    },
    "longcat_image": {  # quoted words cut into characters, a norm that may only shrink
        "_class_name": "LongCatImagePipeline",
        "transformer": ("diffusers", "LongCatImageTransformer2DModel", {
            "patch_size": 1, "in_channels": 64, "num_layers": 10, "num_single_layers": 20, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 3584, "pooled_projection_dim": 3584,
            "axes_dims_rope": [16, 56, 56],
        }),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration", QWEN25_VL),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", DYNAMIC),
        "tokenizer": ("transformers", "Qwen2Tokenizer", {}),
        "text_processor": ("transformers", "Qwen2VLProcessor", {}),
    },
    "prx": {  # a prompt that is cleaned and written in lower case, the encoder half of a model with two halves
        "_class_name": "PRXPipeline",
        "transformer": ("diffusers", "PRXTransformer2DModel", {
            "in_channels": 16, "patch_size": 2, "context_in_dim": 2304, "hidden_size": 1792, "mlp_ratio": 3.5,
            "num_heads": 28, "depth": 16, "axes_dim": [32, 32], "theta": 10000, "time_factor": 1000.0,
            "time_max_period": 10000,
        }),
        "text_encoder": ("transformers", "T5GemmaEncoder", {
            "model_type": "t5gemma", "architectures": ["T5GemmaEncoder"], "vocab_size": 256000,
            "encoder": T5_GEMMA, "decoder": T5_GEMMA,
        }),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 3.0}),
        "tokenizer": ("transformers", "GemmaTokenizerFast", {**BEGINS, "model_max_length": 256}),
    },
    "kandinsky5": {  # latents with an axis of frames, channels last, and sizes from a list
        "_class_name": "Kandinsky5T2IPipeline",
        "transformer": ("diffusers", "Kandinsky5Transformer3DModel", {
            "in_visual_dim": 16, "in_text_dim": 3584, "in_text_dim2": 768, "time_dim": 512, "out_visual_dim": 16,
            "patch_size": [1, 2, 2], "model_dim": 2560, "ff_dim": 10240, "num_text_blocks": 2, "num_visual_blocks": 50,
            "axes_dims": [32, 48, 48], "visual_cond": False, "attention_type": "regular",
        }),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration", QWEN25_VL),
        "text_encoder_2": ("transformers", "CLIPTextModel", {**CLIP, "architectures": ["CLIPTextModel"]}),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 3.0}),
        "tokenizer": ("transformers", "Qwen2VLProcessor", {}),
        "tokenizer_2": ("transformers", "CLIPTokenizer", SHORT),
    },
}  # fmt: skip
