"""Bugs in FIBO 2: six bundles of the text's layers, tokens that a perceiver makes of the text, clean and noisy modulation."""

from __future__ import annotations

import types

import mlx.core as mx
from bugs import Bug, replaced
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler
from mflux.models.fibo2.latent_creator.fibo2_latent_creator import Fibo2LatentCreator
from mflux.models.fibo2.model.fibo2_text_encoder.prompt_encoder import Fibo2PromptEncoder
from mflux.models.fibo2.model.fibo2_transformer import fibo2_transformer as transformer_module
from mflux.models.fibo2.model.fibo2_transformer.fibo2_perceiver import Fibo2Perceiver, Fibo2PerceiverLayer
from mflux.models.fibo2.model.fibo2_transformer.fibo2_transformer import Fibo2Transformer
from mflux.models.fibo2.model.fibo2_transformer.fibo2_transformer_block import Fibo2TransformerBlock
from mflux.models.fibo2.variants.fibo2_core import _Fibo2Core

PREDICT = Fibo2Transformer.__call__
GRID = Fibo2Transformer._coordinate_grid
MODULATION = Fibo2TransformerBlock._modulation
GUIDED = _Fibo2Core._predict
BUNDLES = Fibo2PromptEncoder.OUTPUT_LAYERS


def _bundles_exchanged(transformer, latents, sigma, encoder_hidden_states, context_latents=None):
    order = mx.array([1, 0, *range(2, encoder_hidden_states.shape[1])])
    return PREDICT(transformer, latents, sigma, encoder_hidden_states[:, order], context_latents)


def _injections_reversed(transformer, latents, sigma, encoder_hidden_states, context_latents=None):
    order = mx.array([0, *range(encoder_hidden_states.shape[1] - 1, 0, -1)])
    return PREDICT(transformer, latents, sigma, encoder_hidden_states[:, order], context_latents)


def _clean_at_full_noise(transformer, *args, **kwargs):
    fake = types.SimpleNamespace(**vars(mx))
    fake.zeros_like = mx.ones_like
    with replaced(transformer_module, "mx", fake):
        return PREDICT(transformer, *args, **kwargs)


def _all_noisy(block, t_noisy, t_clean, noise_mask):
    return MODULATION(block, t_noisy, None, None)


def _noise_for_clean(block, t_noisy, t_clean, noise_mask):
    return MODULATION(block, t_noisy, t_clean, None if noise_mask is None else ~noise_mask)


def _gate_without_tanh(block, x, freqs_cis, t_noisy, t_clean=None, noise_mask=None, encoder_hidden_states=None):
    scale_msa, gate_msa, scale_mlp, gate_mlp = block._modulation(t_noisy, t_clean, noise_mask)
    x = x + gate_msa * block.attention_norm2(block.attention(block.attention_norm1(x) * scale_msa, freqs_cis=freqs_cis))
    if block.cross_attention is not None:
        out = block.cross_attention(block.cross_attn_norm1(x), encoder_hidden_states=encoder_hidden_states)
        x = x + 2 * block.cross_attn_gate * block.cross_attn_norm2(out)
    return x + gate_mlp * block.ffn_norm2(block.feed_forward(block.ffn_norm1(x) * scale_mlp))


def _no_text(block, x, freqs_cis, t_noisy, t_clean=None, noise_mask=None, encoder_hidden_states=None):
    scale_msa, gate_msa, scale_mlp, gate_mlp = block._modulation(t_noisy, t_clean, noise_mask)
    x = x + gate_msa * block.attention_norm2(block.attention(block.attention_norm1(x) * scale_msa, freqs_cis=freqs_cis))
    return x + gate_mlp * block.ffn_norm2(block.feed_forward(block.ffn_norm1(x) * scale_mlp))


def _text_from_zero(size, start):
    return GRID(size, (0, 0, 0) if start == (1, 0, 0) else start)


def _one_plane_lower(size, start):
    return GRID(size, (start[0] - 1, *start[1:]) if start[0] > 1 else start)


def _columns_first(size, start):
    ids = GRID(size, start)
    return mx.stack([ids[:, 0], ids[:, 2], ids[:, 1]], axis=-1)


def _not_normed(layer, latents, encoder_hidden_states):
    latents = latents + layer.cross_attention(latents, encoder_hidden_states=encoder_hidden_states)
    latents = latents + layer.self_attention(layer.self_attn_norm(latents))
    return latents + layer.ffn(layer.ffn_norm(latents))


def _most_tokens(perceiver, text_length):
    return perceiver.max_gist


def _channels_last(transformer, latents):
    b, c, h, w = latents.shape
    p = transformer.patch_size
    return latents.reshape(b, c, h // p, p, w // p, p).transpose(0, 2, 4, 3, 5, 1).reshape(b, h * w // p**2, c * p**2)


def _one_less(core, latents, sigma, prompt_embeds, negative_embeds, guidance, context_latents):
    return GUIDED(core, latents, sigma, prompt_embeds, negative_embeds, guidance - 1, context_latents)


def _exchanged(core, latents, sigma, prompt_embeds, negative_embeds, guidance, context_latents):
    return GUIDED(core, latents, sigma, prompt_embeds, negative_embeds, 1 - guidance, context_latents)


def _not_denormalised(vae, latents, tiling_config=None):
    return vae.decode(latents)


def _layer_normed(states):
    states = states.astype(mx.float32)
    centred = states - mx.mean(states, axis=-1, keepdims=True)
    return centred * mx.rsqrt(mx.mean(centred * centred, axis=-1, keepdims=True) + 1e-6)


FIRST, INJECTED = "transformer.layers.0", "transformer.layers.1"
BUGS = (
    Bug("bundles in the order of the layers", lambda m: replaced(Fibo2PromptEncoder, "OUTPUT_LAYERS", tuple(sorted(BUNDLES))),
        ("text_encoder",), "guided"),
    Bug("layers not scaled", lambda m: replaced(Fibo2PromptEncoder, "_unit_rms", staticmethod(lambda states: states)),
        ("text_encoder",), "guided"),
    Bug("layer norm for unit RMS", lambda m: replaced(Fibo2PromptEncoder, "_unit_rms", staticmethod(_layer_normed)),
        ("text_encoder",), "guided"),
    Bug("one layer further", lambda m: replaced(Fibo2PromptEncoder, "OUTPUT_LAYERS", tuple(
        tuple(min(layer + 1, 35) for layer in bundle) for bundle in BUNDLES)), ("text_encoder",), "guided"),
    Bug("perceiver gets the second bundle", lambda m: replaced(Fibo2Transformer, "__call__", _bundles_exchanged),
        ("transformer", "transformer.perceiver*"), "guided"),
    Bug("injections reversed", lambda m: replaced(Fibo2Transformer, "__call__", _injections_reversed),
        ("transformer", INJECTED, f"{INJECTED}.*"), "guided"),
    Bug("text not injected", lambda m: replaced(Fibo2TransformerBlock, "__call__", _no_text), (INJECTED,), "guided"),
    Bug("gate of the text without its tanh", lambda m: replaced(Fibo2TransformerBlock, "__call__", _gate_without_tanh),
        (INJECTED,), "guided", "its own code"),
    Bug("clean tokens at full noise", lambda m: replaced(Fibo2Transformer, "__call__", _clean_at_full_noise),
        ("transformer", "transformer.t_embedder"), "guided", "timestep"),
    Bug("all tokens noisy", lambda m: replaced(Fibo2TransformerBlock, "_modulation", _all_noisy), (FIRST,), "guided"),
    Bug("noisy and clean exchanged", lambda m: replaced(Fibo2TransformerBlock, "_modulation", _noise_for_clean), (FIRST,), "guided"),
    Bug("the text's positions from zero", lambda m: replaced(Fibo2Transformer, "_coordinate_grid", staticmethod(_text_from_zero)),
        ("transformer", "transformer.rope_embedder", f"{FIRST}.attention"), "guided", "RoPE|position"),
    Bug("the image one plane lower", lambda m: replaced(Fibo2Transformer, "_coordinate_grid", staticmethod(_one_plane_lower)),
        ("transformer", "transformer.rope_embedder", "transformer.noise_refiner.0.attention"), "guided", "RoPE|position"),
    Bug("columns before rows", lambda m: replaced(Fibo2Transformer, "_coordinate_grid", staticmethod(_columns_first)),
        ("transformer", "transformer.rope_embedder", "transformer.noise_refiner.0.attention"), "guided", "RoPE|position"),
    Bug("queries of the text not normed", lambda m: replaced(Fibo2PerceiverLayer, "__call__", _not_normed),
        ("transformer.perceiver.layers.0",), "guided", "its own code"),
    Bug("as many text tokens as possible", lambda m: replaced(Fibo2Perceiver, "gist_count", _most_tokens),
        ("transformer", "transformer.perceiver*"), "guided"),
    Bug("patches with channels last", lambda m: replaced(Fibo2Transformer, "_patchify", _channels_last),
        ("transformer", "transformer.x_embedder"), "guided", "order|layout"),
    Bug("the same shift for every size", lambda m: replaced(FlowMatchEulerDiscreteScheduler, "_compute_linear_mu", staticmethod(
        lambda *args: 1.15)), ("scheduler",), "guided", "sigma shift"),
    Bug("guidance one lower", lambda m: replaced(_Fibo2Core, "_predict", _one_less), ("predict",), "guided", "guidance formula"),
    Bug("prompts exchanged", lambda m: replaced(_Fibo2Core, "_predict", _exchanged), ("predict",), "guided", "guidance formula"),
    Bug("latents not denormalised", lambda m: replaced(Fibo2LatentCreator, "decode", staticmethod(_not_denormalised)),
        ("vae",), "guided", "normalisation"),
)  # fmt: skip
