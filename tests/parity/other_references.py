"""Config files of families that mflux lacks: encoders, widths and options that the three ported ones do not show."""

from __future__ import annotations

from tests.parity.references import AUTOENCODER_KL, SCHEDULER

T5 = {
    "model_type": "t5", "architectures": ["T5EncoderModel"], "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64,
    "num_layers": 24, "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "is_gated_act": True,
    "dense_act_fn": "gelu_new", "tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
CLIP = {
    "model_type": "clip_text_model", "architectures": ["CLIPTextModelWithProjection"], "hidden_size": 768,
    "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768,
    "max_position_embeddings": 77, "vocab_size": 49408, "hidden_act": "quick_gelu", "eos_token_id": 2,
    "bos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
LARGE_CLIP = {
    **CLIP, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip
SDXL_VAE = {
    **AUTOENCODER_KL, "latent_channels": 4, "scaling_factor": 0.13025, "shift_factor": None, "use_quant_conv": True,
    "use_post_quant_conv": True,
}  # fmt: skip
SHORT = {"model_max_length": 77}
OTHERS: dict[str, dict] = {
    "pixart_sigma": {  # a tokenizer of pieces, a size that is rounded to another, a caption with its own width
        "_class_name": "PixArtSigmaPipeline",
        "transformer": ("diffusers", "PixArtTransformer2DModel", {
            "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "num_layers": 28,
            "cross_attention_dim": 1152, "sample_size": 128, "patch_size": 2, "caption_channels": 4096,
            "interpolation_scale": 2, "use_additional_conditions": False, "norm_type": "ada_norm_single",
            "num_embeds_ada_norm": 1000,
        }),
        "text_encoder": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", SDXL_VAE),
        "scheduler": ("diffusers", "DPMSolverMultistepScheduler", {"_class_name": "DPMSolverMultistepScheduler"}),
        "tokenizer": ("transformers", "T5Tokenizer", {}),
    },
    "aura_flow": {  # a transformer without a name for its width
        "_class_name": "AuraFlowPipeline",
        "transformer": ("diffusers", "AuraFlowTransformer2DModel", {
            "sample_size": 64, "patch_size": 2, "in_channels": 4, "num_mmdit_layers": 2, "num_single_dit_layers": 2,
            "attention_head_dim": 256, "num_attention_heads": 12, "joint_attention_dim": 2048,
            "caption_projection_dim": 3072, "out_channels": 4, "pos_embed_max_size": 1024,
        }),
        "text_encoder": ("transformers", "UMT5EncoderModel", {
            **T5, "model_type": "umt5", "architectures": ["UMT5EncoderModel"], "d_model": 2048, "d_ff": 5120,
            "num_heads": 32,
        }),
        "vae": ("diffusers", "AutoencoderKL", SDXL_VAE),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 1.73}),
        "tokenizer": ("transformers", "LlamaTokenizerFast", {}),
    },
    "stable_diffusion_3": {  # three encoders; the transformer's width is twice the smallest one's
        "_class_name": "StableDiffusion3Pipeline",
        "transformer": ("diffusers", "SD3Transformer2DModel", {
            "sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24,
            "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096,
            "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "pos_embed_max_size": 192,
        }),
        "text_encoder": ("transformers", "CLIPTextModelWithProjection", CLIP),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection", LARGE_CLIP),
        "text_encoder_3": ("transformers", "T5EncoderModel", T5),
        "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {**SCHEDULER, "shift": 3.0}),
        "tokenizer": ("transformers", "CLIPTokenizer", SHORT),
        "tokenizer_2": ("transformers", "CLIPTokenizer", SHORT),
        "tokenizer_3": ("transformers", "T5TokenizerFast", {}),
    },
}  # fmt: skip
