"""Bugs in Z-Image."""

from __future__ import annotations

import contextlib

import mlx.core as mx
from bugs import Bug, rearranged, replaced, swapped, unloaded, without
from mflux.models.common.config import ModelConfig
from mflux.models.common.schedulers.linear_scheduler import LinearScheduler
from mflux.models.z_image.latent_creator import ZImageLatentCreator
from mflux.models.z_image.model.z_image_text_encoder.encoder_layer import EncoderLayer
from mflux.models.z_image.model.z_image_text_encoder.text_encoder import TextEncoder
from mflux.models.z_image.model.z_image_transformer.attention import ZImageAttention
from mflux.models.z_image.model.z_image_transformer.feed_forward import FeedForward
from mflux.models.z_image.model.z_image_transformer.rope_embedder import RopeEmbedder
from mflux.models.z_image.model.z_image_transformer.timestep_embedder import TimestepEmbedder
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.model.z_image_transformer.transformer_block import ZImageTransformerBlock
from mflux.models.z_image.model.z_image_vae.vae import VAE
from mlx import nn


def _half_rope(x, freqs_cis, keep_float32=False):
    half = x.shape[-1] // 2
    cos, sin = freqs_cis[None, :, None, :, 0], freqs_cis[None, :, None, :, 1]
    one, two = x[..., :half], x[..., half:]
    return mx.concatenate([one * cos - two * sin, one * sin + two * cos], axis=-1).astype(x.dtype)


def _other_theta(model):
    embedder = model.transformer.rope_embedder
    lengths = [table.shape[0] for table in embedder.freqs_cis]
    return replaced(embedder, "freqs_cis", type(embedder)._precompute_freqs_cis(embedder.axes_dims, lengths, 10000.0))


def _no_qk_norm(model):
    return replaced(model.transformer.layers[0].attention, "norm_k", nn.Identity())


def _split_order(block, x, attn_mask, freqs_cis, t_emb):
    parts = mx.split(mx.expand_dims(block.adaLN_modulation[0](t_emb), axis=1), 4, axis=2)
    gate_msa, scale_msa, gate_mlp, scale_mlp = mx.tanh(parts[0]), 1 + parts[1], mx.tanh(parts[2]), 1 + parts[3]
    attended = block.attention(block.attention_norm1(x) * scale_msa, attention_mask=attn_mask, freqs_cis=freqs_cis)
    x = x + gate_msa * block.attention_norm2(attended)
    return x + gate_mlp * block.ffn_norm2(block.feed_forward(block.ffn_norm1(x) * scale_mlp))


def _gate_and_up(layer, x):
    return layer.w2(nn.silu(layer.w3(x)) * layer.w1(x))


def _sin_first(embedder, t, dim, max_period=10000.0):
    right = TIMESTEP(t, dim, max_period)
    return mx.concatenate([right[:, dim // 2 :], right[:, : dim // 2]], axis=-1)


TIMESTEP = TimestepEmbedder._timestep_embedding
CALL = ZImageTransformer.__call__
NOISE = ZImageLatentCreator.create_noise
SHIFT = LinearScheduler.shift_sigmas
ENCODE = TextEncoder.__call__
ENCODER_LAYER = EncoderLayer.__call__
DECODE = VAE.decode
ROPE = RopeEmbedder.__call__
PATCHIFY = ZImageTransformer._patchify
UNPATCHIFY = ZImageTransformer._unpatchify


def _last_layer(encoder, input_ids, attention_mask=None):
    kept = encoder.layers
    encoder.layers = [*kept, kept[-1]]  # one more layer, so that the second to last one is the last
    try:
        return ENCODE(encoder, input_ids, attention_mask)
    finally:
        encoder.layers = kept


def _no_causal(length, dtype):
    return mx.zeros((1, 1, length, length), dtype=dtype)


def _stronger_shift(sigmas, config, **more):
    shifted = SHIFT(sigmas, config, **more)
    return 2 * shifted / (1 + shifted)


def _step_away(scheduler, noise, timestep, latents, **more):
    return latents - noise * (scheduler._sigmas[timestep + 1] - scheduler._sigmas[timestep]).astype(latents.dtype)


def _not_negated(transformer, *args, **kwargs):
    return -CALL(transformer, *args, **kwargs)


def _sigma_for_time(transformer, *args, **kwargs):
    return CALL(transformer, *args, **(kwargs | {"timestep": 1 - kwargs["timestep"]}))


def _no_tanh(block, x, attn_mask, freqs_cis, t_emb):
    parts = mx.split(mx.expand_dims(block.adaLN_modulation[0](t_emb), axis=1), 4, axis=2)
    scale_msa, gate_msa, scale_mlp, gate_mlp = 1 + parts[0], parts[1], 1 + parts[2], parts[3]
    attended = block.attention(block.attention_norm1(x) * scale_msa, attention_mask=attn_mask, freqs_cis=freqs_cis)
    x = x + gate_msa * block.attention_norm2(attended)
    return x + gate_mlp * block.ffn_norm2(block.feed_forward(block.ffn_norm1(x) * scale_mlp))


def _width_first(embedder, ids):
    return ROPE(embedder, ids[:, mx.array([0, 2, 1])])


def _channels_first(image, cap_feats, patch_size, f_patch_size):
    tokens, *rest = PATCHIFY(image=image, cap_feats=cap_feats, patch_size=patch_size, f_patch_size=f_patch_size)
    moved = tokens.reshape(len(tokens), -1, image.shape[0]).transpose(0, 2, 1)
    return moved.reshape(tokens.shape), *rest


def _turned_patches(x, size, patch_size, f_patch_size, out_channels):
    turned = x.reshape(len(x), patch_size, patch_size, out_channels).transpose(0, 2, 1, 3).reshape(x.shape)
    return UNPATCHIFY(turned, size, patch_size, f_patch_size, out_channels)


def _padding_as_it_comes(image, cap_feats, patch_size, f_patch_size):
    *rest, x_pad, cap_pad = PATCHIFY(image=image, cap_feats=cap_feats, patch_size=patch_size, f_patch_size=f_patch_size)
    return *rest, mx.zeros_like(x_pad), mx.zeros_like(cap_pad)


def _shift_before_scale(vae, latents):
    factor = vae.scaling_factor
    return DECODE(vae, (latents / factor + vae.shift_factor / factor - vae.shift_factor) * factor)


def _residual_twice(layer, hidden_states, attention_mask=None, position_embeddings=None):
    return hidden_states + ENCODER_LAYER(layer, hidden_states, attention_mask, position_embeddings)


def _other_encoder_theta(model):
    rotary = model.text_encoder.rotary_emb
    size = 2 * rotary.inv_freq.shape[0]
    return replaced(rotary, "inv_freq", 1.0 / (10000.0 ** (mx.arange(0, size, 2, dtype=mx.float32) / size)))


def _noise_scaled(seed, height, width):
    return NOISE(seed, height, width) * 0.9


class _HalfEmbedding(nn.Embedding):
    def __call__(self, ids):
        return super().__call__(ids) / 2


def _half_embedding(model):
    """The embedding returns half of the reference's, as if the calling code applied its scale."""
    halved = _HalfEmbedding(1, 1)
    halved.weight = model.text_encoder.embed_tokens.weight
    return replaced(model.text_encoder, "embed_tokens", halved)


@contextlib.contextmanager
def _scaled_behind_the_embedding(model):
    with _half_embedding(model), replaced(TextEncoder, "__call__", _doubling):
        yield


def _doubling(encoder, input_ids, attention_mask=None):
    hidden = encoder.embed_tokens(input_ids).astype(mx.float32) * 2
    mask = encoder._get_causal_mask(attention_mask, 1, hidden, input_ids.shape[1])
    positions = encoder.rotary_emb(hidden, mx.arange(input_ids.shape[1], dtype=mx.int32)[None, :])
    for layer in encoder.layers[:-1]:
        hidden = layer(hidden_states=hidden, attention_mask=mask, position_embeddings=positions)
    return hidden.astype(ModelConfig.precision)


def _layer(model, n):
    return model.transformer.layers[n]


BLOCK = "transformer.noise_refiner.0"
BUGS = (
    Bug("q and k swapped", lambda m: swapped(_layer(m, 1).attention.to_q, _layer(m, 1).attention.to_k),
        ("transformer.layers.1.attention.to_[qk]",)),
    Bug("encoder weight not loaded", lambda m: unloaded(m.text_encoder.layers[2].mlp.down_proj),
        ("text_encoder.layers.2.mlp.down_proj",)),
    Bug("projection transposed", lambda m: rearranged(_layer(m, 0).attention.to_out[0], lambda w: w.T),
        ("transformer.layers.0.attention.to_out.0",)),
    Bug("kernel turned", lambda m: rearranged(m.vae.decoder.mid_block.resnets[0].conv1, lambda w: w.transpose(0, 2, 1, 3)),
        ("vae.decoder.mid_block.resnets.0.conv1*",)),
    Bug("RoPE in halves", lambda m: replaced(ZImageAttention, "apply_rotary_emb", staticmethod(_half_rope)),
        (f"{BLOCK}.attention",)),
    Bug("RoPE theta", _other_theta, (f"{BLOCK}", f"{BLOCK}.attention", "transformer", "transformer.rope_embedder")),
    Bug("no norm of k", _no_qk_norm, ("transformer.layers.0.attention", "transformer.layers.0.attention.norm_k")),
    Bug("final norm eps", lambda m: replaced(m.transformer.all_final_layer["2-1"].norm, "eps", 1e-4),
        ("transformer.all_final_layer.2-1.norm",)),
    Bug("attention scale", lambda m: replaced(_layer(m, 1).attention, "scale", 1 / 32), ("transformer.layers.1.attention",)),
    Bug("no causal mask", lambda m: replaced(TextEncoder, "_create_causal_mask", staticmethod(_no_causal)),
        ("text_encoder", "text_encoder.layers.0", "text_encoder.layers.0.self_attn")),
    Bug("modulation order", lambda m: replaced(ZImageTransformerBlock, "__call__", _split_order), (BLOCK,)),
    Bug("gate and up", lambda m: replaced(FeedForward, "__call__", _gate_and_up), (f"{BLOCK}.feed_forward",)),
    Bug("sin before cos", lambda m: replaced(TimestepEmbedder, "_timestep_embedding", _sin_first), ("transformer.t_embedder",)),
    Bug("sigma for 1 - sigma", lambda m: replaced(ZImageTransformer, "__call__", _sigma_for_time), ("predict", "transformer")),
    Bug("sigma shift", lambda m: replaced(LinearScheduler, "shift_sigmas", staticmethod(_stronger_shift)), ("scheduler",)),
    Bug("step sign", lambda m: replaced(LinearScheduler, "step", _step_away), ("scheduler",)),
    Bug("latent shift", lambda m: replaced(type(m.vae), "shift_factor", 0.0), ("vae",)),
    Bug("last layer", lambda m: replaced(TextEncoder, "__call__", _last_layer), ("text_encoder",)),
    Bug("prediction not negated", lambda m: replaced(ZImageTransformer, "__call__", _not_negated), ("predict", "transformer")),
    Bug("norms of q and k swapped", lambda m: swapped(_layer(m, 0).attention.norm_q, _layer(m, 0).attention.norm_k),
        ("transformer.layers.0.attention.norm_[qk]",)),
    Bug("no tanh at the gates", lambda m: replaced(ZImageTransformerBlock, "__call__", _no_tanh), (BLOCK,)),
    Bug("width before height", lambda m: replaced(RopeEmbedder, "__call__", _width_first),
        (BLOCK, f"{BLOCK}.attention", "transformer", "transformer.rope_embedder")),
    Bug("patches channels first", lambda m: replaced(ZImageTransformer, "_patchify", staticmethod(_channels_first)),
        ("transformer",)),
    Bug("patches turned", lambda m: replaced(ZImageTransformer, "_unpatchify", staticmethod(_turned_patches)),
        ("transformer",)),
    Bug("padding not learnt", lambda m: replaced(ZImageTransformer, "_patchify", staticmethod(_padding_as_it_comes)),
        ("transformer",)),
    Bug("shift before scale", lambda m: replaced(VAE, "decode", _shift_before_scale), ("vae",)),
    Bug("residual twice", lambda m: replaced(EncoderLayer, "__call__", _residual_twice), ("text_encoder.layers.0",)),
    Bug("bias dropped", lambda m: without(m.transformer.t_embedder.linear1, "bias"), ("transformer.t_embedder.linear1",)),
    Bug("weights of another block", lambda m: replaced(
        _layer(m, 1).feed_forward.w1, "weight", _layer(m, 0).feed_forward.w1.weight),
        ("transformer.layers.1.feed_forward.w1",)),
    Bug("encoder RoPE theta", _other_encoder_theta,
        ("text_encoder", "text_encoder.rotary_emb", "text_encoder.layers.0.self_attn")),
    Bug("embedding not scaled", _half_embedding, ("text_encoder.embed_tokens",)),
    Bug("embedding scaled after it, which is not a bug", _scaled_behind_the_embedding, ()),
    Bug("noise scaled", lambda m: replaced(ZImageLatentCreator, "create_noise", staticmethod(_noise_scaled)), ("loop",)),
)  # fmt: skip
