"""Bugs in Qwen-Image: guidance that keeps the norm, two prompts, separate modulations of both streams."""

from __future__ import annotations

import mlx.core as mx
from bugs import Bug, replaced, swapped
from mflux.models.qwen.model.qwen_text_encoder.qwen_prompt_encoder import QwenPromptEncoder
from mflux.models.qwen.model.qwen_text_encoder.qwen_text_encoder import QwenTextEncoder
from mflux.models.qwen.model.qwen_transformer.qwen_attention import QwenAttention
from mflux.models.qwen.model.qwen_transformer.qwen_feed_forward import QwenFeedForward
from mflux.models.qwen.model.qwen_transformer.qwen_rope import QwenEmbedRopeMLX
from mflux.models.qwen.model.qwen_transformer.qwen_transformer import QwenTransformer
from mflux.models.qwen.model.qwen_vae.qwen_vae import QwenVAE
from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage
from mlx import nn

ROPE = QwenEmbedRopeMLX.__call__
CUT = QwenTextEncoder._process_text_embeddings_mlx
ENCODE = QwenPromptEncoder.encode_prompt
TIME = QwenTransformer._compute_timestep


def _plain(noise, noise_negative, guidance):
    return noise_negative + guidance * (noise - noise_negative)


def _one_norm_for_all(noise, noise_negative, guidance):
    combined = _plain(noise, noise_negative, guidance)
    return combined * mx.linalg.norm(noise.reshape(-1)) / mx.linalg.norm(combined.reshape(-1))


def _one_row_less(hidden_states, attention_mask, drop_idx=1, dtype=mx.float32):
    return CUT(hidden_states, attention_mask, drop_idx + 1, dtype)


def _same_prompt_twice(**given):
    embeds, mask, *_ = ENCODE(**given)
    return embeds, mask, embeds, mask


def _text_from_zero(rope, video_fhw, txt_seq_lens):
    image, _ = ROPE(rope, video_fhw, txt_seq_lens)
    rows = rope.pos_freqs[: max(txt_seq_lens)]
    return image, (mx.array(rows[..., 0]), mx.array(rows[..., 1]))


def _mean_first(vae, latents):
    latents = latents.reshape(*latents.shape[:2], 1, *latents.shape[-2:])
    mean, std = (mx.array(values).reshape(1, 16, 1, 1, 1) for values in (vae.LATENTS_MEAN, vae.LATENTS_STD))
    return vae.decoder(vae.post_quant_conv((latents + mean) * std))


def _exact(layer, hidden_states):
    return layer.mlp_out(nn.gelu(layer.mlp_in(hidden_states)))


def _halves(x, cos_vals, sin_vals):
    cos, sin = (table[None, :, None, : x.shape[-1] // 2] for table in (cos_vals, sin_vals))
    first, second = mx.split(x, 2, axis=-1)
    return mx.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def _axes_reversed(model):
    rope = model.transformer.pos_embed
    other = QwenEmbedRopeMLX(theta=rope.theta, axes_dim=rope.axes_dim[::-1], scale_rope=rope.scale_rope)
    return replaced(model.transformer, "pos_embed", other)


def _whole(t, config):
    return mx.floor(1000 * TIME(t, config)) / 1000


def _blocks(model):
    return model.transformer.transformer_blocks


FIRST = "transformer.transformer_blocks.0"
BUGS = (
    Bug("guidance without its norm", lambda m: replaced(QwenImage, "compute_guided_noise", staticmethod(_plain)),
        ("predict",), "guided", "guidance formula"),
    Bug("template cut one row too late", lambda m: replaced(QwenTextEncoder, "_process_text_embeddings_mlx", staticmethod(_one_row_less)),
        ("text_encoder",), "guided", "1 more row"),
    Bug("the prompt as its own negative", lambda m: replaced(QwenPromptEncoder, "encode_prompt", staticmethod(_same_prompt_twice)),
        ("text_encoder", "tokenizer"), "guided"),
    Bug("text's positions from zero", lambda m: replaced(QwenEmbedRopeMLX, "__call__", _text_from_zero),
        ("transformer.pos_embed", f"{FIRST}.attn"), "guided", "RoPE|position"),
    Bug("modulations swapped", lambda m: swapped(_blocks(m)[0].img_mod_linear, _blocks(m)[0].txt_mod_linear),
        (f"{FIRST}.*_mod_linear",), "guided", "swapped"),
    Bug("mean before deviation", lambda m: replaced(QwenVAE, "decode", _mean_first), ("vae",), "guided", "mean|normal|scal"),
    Bug("exact GELU", lambda m: replaced(QwenFeedForward, "__call__", _exact), (f"{FIRST}.*_ff",), "guided",
        "is exact GELU; the reference's is GELU in its tanh form"),
    Bug("RoPE in halves", lambda m: replaced(QwenAttention, "_apply_rope_qwen", staticmethod(_halves)), (f"{FIRST}.attn",), "guided", "RoPE"),
    Bug("one norm for the whole picture", lambda m: replaced(QwenImage, "compute_guided_noise", staticmethod(_one_norm_for_all)),
        ("predict",), "guided", "guidance formula"),
    Bug("axes of RoPE reversed", _axes_reversed, ("transformer.pos_embed", f"{FIRST}.attn"), "guided", "RoPE|position"),
    Bug("whole timesteps", lambda m: replaced(QwenTransformer, "_compute_timestep", staticmethod(_whole)),
        ("predict", "transformer", "transformer.time_text_embed*"), "guided", "timestep"),
)  # fmt: skip
