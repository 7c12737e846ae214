"""Bugs in FLUX.1 dev: an embedded guidance, two text encoders, a loop in packed rows."""

from __future__ import annotations

import mlx.core as mx
from bugs import Bug, replaced, swapped
from mflux.models.flux.latent_creator.flux_latent_creator import FluxLatentCreator
from mflux.models.flux.model.flux_text_encoder.clip_encoder.clip_text_model import CLIPTextModel
from mflux.models.flux.model.flux_text_encoder.t5_encoder.t5_self_attention import T5SelfAttention
from mflux.models.flux.model.flux_transformer.ada_layer_norm_continuous import AdaLayerNormContinuous
from mflux.models.flux.model.flux_transformer.common.attention_utils import AttentionUtils
from mflux.models.flux.model.flux_transformer.single_transformer_block import SingleTransformerBlock
from mflux.models.flux.model.flux_transformer.transformer import Transformer
from mlx import nn

BUCKET = T5SelfAttention._relative_position_bucket
ROPE = AttentionUtils.apply_rope


def _without_guidance(embed, time_step, pooled_projection, guidance):
    return embed.timestep_embedder(embed._time_proj(time_step)) + embed.text_embedder(pooled_projection)


def _small_guidance(t, pooled_prompt_embeds, time_text_embed, config):
    time = mx.broadcast_to(config.scheduler.sigmas[t] * config.num_train_steps, (1,)).astype(config.precision)
    guidance = mx.broadcast_to(mx.array(config.guidance), (1,)).astype(config.precision)
    return time_text_embed(time, pooled_prompt_embeds, guidance)


def _first_token(model, tokens):
    hidden = model.embeddings(tokens)
    hidden = model.encoder(hidden, CLIPTextModel.create_causal_attention_mask(hidden.shape))
    return model.final_layer_norm(hidden)[0, :1]


def _one_way(relative_position, bidirectional=True, num_buckets=32, max_distance=128):
    return BUCKET(-relative_position, bidirectional, num_buckets, max_distance)


def _exact(block, norm_hidden_states, attn_output, gate):
    rows = mx.concatenate([attn_output, nn.gelu(block.proj_mlp(norm_hidden_states))], axis=2)
    return mx.expand_dims(gate, axis=1) * block.proj_out(rows)


def _shift_first(norm, x, text_embeddings):
    shift, scale = mx.split(norm.linear(nn.silu(text_embeddings)), 2, axis=-1)
    return norm.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]


def _queries_only(xq, xk, freqs_cis):
    return ROPE(xq=xq, xk=xk, freqs_cis=freqs_cis)[0], xk


def _columns_first(latents, height, width):
    latents = mx.reshape(latents, (1, height // 16, width // 16, 16, 2, 2)).transpose(0, 3, 1, 5, 2, 4)
    return mx.reshape(latents, (1, 16, height // 16 * 2, width // 16 * 2))


FIRST = "transformer.transformer_blocks.0"
BUGS = (
    Bug("guidance not embedded", lambda m: replaced(type(m.transformer.time_text_embed), "__call__", _without_guidance),
        ("transformer.time_text_embed*",)),
    Bug("guidance not times a thousand", lambda m: replaced(Transformer, "compute_text_embeddings", staticmethod(_small_guidance)),
        ("transformer", "transformer.time_text_embed*"), cause="guidance"),
    Bug("pooled from the first token", lambda m: replaced(CLIPTextModel, "__call__", _first_token), ("clip_text_encoder*",)),
    Bug("T5 positions the other way", lambda m: replaced(T5SelfAttention, "_relative_position_bucket", staticmethod(_one_way)),
        ("t5_text_encoder.t5_blocks.0.attention*",)),
    Bug("single block with exact GELU", lambda m: replaced(SingleTransformerBlock, "_apply_feed_forward_and_projection", _exact),
        ("transformer.single_transformer_blocks.0",), cause="is exact GELU; the reference's is GELU in its tanh form"),
    Bug("shift before scale at the end", lambda m: replaced(AdaLayerNormContinuous, "__call__", _shift_first),
        ("transformer.norm_out",), cause="order|scale|shift"),
    Bug("keys not turned", lambda m: replaced(AttentionUtils, "apply_rope", staticmethod(_queries_only)),
        (f"{FIRST}.attn",), cause="RoPE"),
    Bug("columns before rows", lambda m: replaced(FluxLatentCreator, "unpack_latents", staticmethod(_columns_first)),
        ("vae*",), cause="order|layout|unpack"),
    Bug("text's q and k swapped", lambda m: swapped(m.transformer.transformer_blocks[0].attn.add_q_proj,
        m.transformer.transformer_blocks[0].attn.add_k_proj), (f"{FIRST}.attn.add_[qk]_proj",), cause="swapped"),
)  # fmt: skip
