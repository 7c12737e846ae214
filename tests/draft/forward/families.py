"""References whose forward passes are drafted in tests: one component each, from its config alone.

``KNOWN`` were used while the writer was developed. ``UNSEEN`` were chosen before the first of them was run.
"""

from __future__ import annotations

_FLUX = {"in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
         "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": True,
         "axes_dims_rope": [16, 56, 56]}  # fmt: skip

# name: (component, library, class, config)
KNOWN = {
    "z_image": ("transformer", "diffusers", "ZImageTransformer2DModel", {
        "all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 3840, "n_layers": 30,
        "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "norm_eps": 1e-05, "qk_norm": True, "cap_feat_dim": 2560,
        "rope_theta": 256.0, "t_scale": 1000.0, "axes_dims": [32, 48, 48], "axes_lens": [1024, 512, 512]}),
    "ernie_image": ("transformer", "diffusers", "ErnieImageTransformer2DModel", {
        "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 36, "ffn_hidden_size": 12288, "in_channels": 128,
        "out_channels": 128, "patch_size": 1, "text_in_dim": 3072, "rope_theta": 256, "rope_axes_dim": [32, 48, 48]}),
    "flux1": ("transformer", "diffusers", "FluxTransformer2DModel", _FLUX),
    "flux2_klein": ("transformer", "diffusers", "Flux2Transformer2DModel", {
        "in_channels": 128, "num_layers": 5, "num_single_layers": 20, "attention_head_dim": 128,
        "num_attention_heads": 24, "joint_attention_dim": 7680, "guidance_embeds": False,
        "axes_dims_rope": [32, 32, 32, 32], "rope_theta": 2000}),
    "qwen_image": ("transformer", "diffusers", "QwenImageTransformer2DModel", {
        "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
        "num_attention_heads": 24, "joint_attention_dim": 3584, "axes_dims_rope": [16, 56, 56]}),
    "autoencoder_kl": ("vae", "diffusers", "AutoencoderKL", {
        "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4, "layers_per_block": 2, "latent_channels": 16, "norm_num_groups": 32,
        "use_quant_conv": False, "use_post_quant_conv": False, "in_channels": 3, "out_channels": 3}),
    "qwen3": ("text_encoder", "transformers", "Qwen3Model", {
        "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
}  # fmt: skip
UNSEEN = {
    "lumina_next": ("transformer", "diffusers", "LuminaNextDiT2DModel", {
        "sample_size": 128, "patch_size": 2, "in_channels": 4, "hidden_size": 2304, "num_layers": 24,
        "num_attention_heads": 32, "num_kv_heads": 8, "multiple_of": 256, "norm_eps": 1e-05, "learn_sigma": True,
        "qk_norm": True, "cross_attention_dim": 2048, "scaling_factor": 1.0}),
    "wan": ("transformer", "diffusers", "WanTransformer3DModel", {
        "patch_size": [1, 2, 2], "num_attention_heads": 12, "attention_head_dim": 128, "in_channels": 16,
        "out_channels": 16, "text_dim": 4096, "freq_dim": 256, "ffn_dim": 8960, "num_layers": 30,
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-06, "rope_max_seq_len": 1024}),
    "ltx": ("transformer", "diffusers", "LTXVideoTransformer3DModel", {
        "in_channels": 128, "out_channels": 128, "patch_size": 1, "patch_size_t": 1, "num_attention_heads": 32,
        "attention_head_dim": 64, "cross_attention_dim": 2048, "num_layers": 28, "caption_channels": 4096,
        "qk_norm": "rms_norm_across_heads"}),
    "cogvideox": ("transformer", "diffusers", "CogVideoXTransformer3DModel", {
        "num_attention_heads": 30, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16, "time_embed_dim": 512,
        "text_embed_dim": 4096, "num_layers": 30, "sample_width": 8, "sample_height": 12, "sample_frames": 1,
        "patch_size": 2, "max_text_seq_length": 7, "use_rotary_positional_embeddings": False}),
    "dit": ("transformer", "diffusers", "DiTTransformer2DModel", {
        "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "num_layers": 28,
        "sample_size": 32, "patch_size": 2, "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_zero"}),
    "autoencoder_kl_flux2": ("vae", "diffusers", "AutoencoderKLFlux2", {
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 32, "norm_num_groups": 32,
        "in_channels": 3, "out_channels": 3}),
    "vq": ("vae", "diffusers", "VQModel", {
        "block_out_channels": [128, 256], "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2, "layers_per_block": 2, "latent_channels": 4, "num_vq_embeddings": 128,
        "norm_num_groups": 32, "in_channels": 3, "out_channels": 3}),
    "mistral": ("text_encoder", "transformers", "MistralModel", {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 32000, "sliding_window": None}),
    "llama": ("text_encoder", "transformers", "LlamaModel", {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}),
    "umt5": ("text_encoder", "transformers", "UMT5EncoderModel", {
        "model_type": "umt5", "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
        "vocab_size": 256384, "feed_forward_proj": "gated-gelu"}),
}  # fmt: skip
# Chosen after the two lists above, but before the first of them was run.
NEW = {
    "hunyuan_video": ("transformer", "diffusers", "HunyuanVideoTransformer3DModel", {
        "in_channels": 16, "out_channels": 16, "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 20,
        "num_single_layers": 40, "num_refiner_layers": 2, "mlp_ratio": 4.0, "patch_size": 2, "patch_size_t": 1,
        "qk_norm": "rms_norm", "guidance_embeds": True, "text_embed_dim": 4096, "pooled_projection_dim": 768,
        "rope_theta": 256.0, "rope_axes_dim": [16, 56, 56]}),
    "cosmos": ("transformer", "diffusers", "CosmosTransformer3DModel", {
        "in_channels": 16, "out_channels": 16, "num_attention_heads": 16, "attention_head_dim": 128, "num_layers": 28,
        "mlp_ratio": 4.0, "text_embed_dim": 1024, "adaln_lora_dim": 256, "max_size": [128, 240, 240],
        "patch_size": [1, 2, 2], "rope_scale": [1.0, 4.0, 4.0], "concat_padding_mask": False}),
    "mochi": ("transformer", "diffusers", "MochiTransformer3DModel", {
        "patch_size": 2, "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 48,
        "pooled_projection_dim": 1536, "in_channels": 12, "text_embed_dim": 4096, "time_embed_dim": 256,
        "max_sequence_length": 256}),
}  # fmt: skip
# Twins of the feasibility study that were incomplete there, or incomplete at first.
STUDIED = {
    "pixart": ("transformer", "diffusers", "PixArtTransformer2DModel", {
        "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "num_layers": 28,
        "cross_attention_dim": 1152, "sample_size": 128, "patch_size": 2, "attention_bias": True,
        "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single", "caption_channels": 4096,
        "use_additional_conditions": False}),
    "sana": ("transformer", "diffusers", "SanaTransformer2DModel", {
        "in_channels": 32, "out_channels": 32, "num_attention_heads": 70, "attention_head_dim": 32, "num_layers": 20,
        "num_cross_attention_heads": 20, "cross_attention_head_dim": 112, "cross_attention_dim": 2240,
        "caption_channels": 2304, "mlp_ratio": 2.5, "sample_size": 32, "patch_size": 1}),
    "chroma": ("transformer", "diffusers", "ChromaTransformer2DModel", {
        "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
        "num_attention_heads": 24, "joint_attention_dim": 4096, "axes_dims_rope": [16, 56, 56],
        "approximator_num_channels": 64, "approximator_hidden_dim": 5120, "approximator_layers": 5}),
    "lumina2": ("transformer", "diffusers", "Lumina2Transformer2DModel", {
        "sample_size": 128, "patch_size": 2, "in_channels": 16, "hidden_size": 2304, "num_layers": 26,
        "num_refiner_layers": 2, "num_attention_heads": 24, "num_kv_heads": 8, "multiple_of": 256, "norm_eps": 1e-05,
        "axes_dim_rope": [32, 32, 32], "axes_lens": [300, 512, 512], "cap_feat_dim": 2304}),
}  # fmt: skip
