"""Bugs in Krea 2: one stream, the text's layers fused inside the transformer, a loop packed on the reference's side only."""

from __future__ import annotations

import mlx.core as mx
from bugs import Bug, replaced
from mflux.models.common.schedulers.linear_scheduler import LinearScheduler
from mflux.models.krea2.model.krea2_text_encoder.prompt_encoder import Krea2PromptEncoder
from mflux.models.krea2.model.krea2_text_encoder.text_encoder import KREA2_TAP_LAYERS, Krea2TextEncoder
from mflux.models.krea2.model.krea2_transformer.attention import Krea2Attention
from mflux.models.krea2.model.krea2_transformer.common import Krea2RMSNorm
from mflux.models.krea2.model.krea2_transformer.final_layer import LastLayer
from mflux.models.krea2.model.krea2_transformer.modulation import SimpleModulation
from mflux.models.krea2.model.krea2_transformer.rope_embedder import Krea2RopeEmbedder
from mflux.models.krea2.model.krea2_transformer.timestep_embedder import Krea2TimestepMLP, Krea2TimestepProj
from mflux.models.krea2.model.krea2_transformer.transformer import Krea2Transformer
from mflux.models.krea2.model.krea2_transformer.transformer_block import SingleStreamBlock
from mflux.models.krea2.variants.txt2img.krea2 import Krea2
from mflux.models.qwen.model.qwen_vae.qwen_vae import QwenVAE
from mlx import nn

ROPE = Krea2RopeEmbedder.__call__
SINUSOID = Krea2TimestepMLP.timestep_embedding
TAPS = Krea2TextEncoder.get_prompt_embeds
PREDICT = Krea2._predict
SHIFT = LinearScheduler.shift_sigmas
MODULATE = SimpleModulation.__call__
ENCODE = Krea2PromptEncoder.encode_prompt


def _text_counted(embedder, ids):
    count = int(mx.all(ids[0] == 0, axis=-1).sum()) - 1  # the image's first token has no position either
    counted = mx.where(mx.arange(ids.shape[1]) < count, mx.arange(ids.shape[1]), 0).astype(ids.dtype)
    return ROPE(embedder, ids + mx.stack([counted, 0 * counted, 0 * counted], axis=-1)[None])


def _columns_first(embedder, ids):
    return ROPE(embedder, mx.stack([ids[..., 0], ids[..., 2], ids[..., 1]], axis=-1))


def _no_factor(t, dim, **more):
    return SINUSOID(t, dim, time_factor=1.0)


def _sin_first(t, dim, **more):
    right = SINUSOID(t, dim)
    return mx.concatenate([right[:, dim // 2 :], right[:, : dim // 2]], axis=-1)


def _shift_first(block, x, vec, freqs, mask=None):
    preshift, prescale, pregate, postshift, postscale, postgate = block.mod(vec)
    x = x + pregate * block.attn((1 + prescale) * block.prenorm(x) + preshift, freqs=freqs, mask=mask)
    return x + postgate * block.mlp((1 + postscale) * block.postnorm(x) + postshift)


def _ungated(block, x, vec, freqs, mask=None):
    prescale, preshift, _, postscale, postshift, postgate = block.mod(vec)
    x = x + block.attn((1 + prescale) * block.prenorm(x) + preshift, freqs=freqs, mask=mask)
    return x + postgate * block.mlp((1 + postscale) * block.postnorm(x) + postshift)


def _gate_before_the_sigmoid(attention, x, freqs=None, mask=None):
    rows = [
        layer(x).reshape(*x.shape[:2], -1, attention.head_dim) for layer in (attention.wq, attention.wk, attention.wv)
    ]
    q, k, v = (part.transpose(0, 2, 1, 3) for part in rows)
    q, k = attention.qknorm(q, k)
    if freqs is not None:
        q, k = Krea2RopeEmbedder.apply_rope(q, k, freqs)
    out = mx.fast.scaled_dot_product_attention(q.astype(v.dtype), k.astype(v.dtype), v, scale=attention.scale)
    return attention.wo(out.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) * attention.gate(x))


def _plain_weight(norm, x):
    return mx.fast.rms_norm(x.astype(mx.float32), norm.scale.astype(mx.float32), norm.eps).astype(x.dtype)


def _next_layers(encoder, input_ids, attention_mask=None, **more):
    return TAPS(encoder, input_ids, attention_mask, tuple(layer + 1 for layer in KREA2_TAP_LAYERS))


def _numbers_first(encoder, input_ids, attention_mask=None, **more):
    right = TAPS(encoder, input_ids, attention_mask)
    return right.reshape(*right.shape[:2], len(KREA2_TAP_LAYERS), -1).swapaxes(-1, -2).reshape(right.shape)


def _exact(projection, x):
    return projection.linear(nn.gelu(x))


def _not_scaled(vae, latents):
    latents = latents.reshape(latents.shape[0], latents.shape[1], 1, *latents.shape[-2:])
    return vae.decoder(vae.post_quant_conv(latents + mx.array(vae.LATENTS_MEAN).reshape(1, -1, 1, 1, 1)))


def _mean_first(vae, latents):
    latents = latents.reshape(latents.shape[0], latents.shape[1], 1, *latents.shape[-2:])
    mean, deviation = (mx.array(part).reshape(1, -1, 1, 1, 1) for part in (vae.LATENTS_MEAN, vae.LATENTS_STD))
    return vae.decoder(vae.post_quant_conv((latents + mean) * deviation))


def _weaker_shift(sigmas, config, **more):
    shifted = SHIFT(sigmas, config, **more)
    return shifted / (2 - shifted)


def _from_the_conditional(transformer, embeds, neg_embeds, guidance):
    return PREDICT(transformer, embeds, neg_embeds, guidance + 1)


def _channels_last(x, patch):
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch).transpose(0, 2, 4, 3, 5, 1)
    return x.reshape(b, h * w // patch**2, c * patch**2)


def _shift_then_scale(modulation, vec):
    scale, shift = MODULATE(modulation, vec)
    return shift, scale


def _normed_after(layer, x, tvec):
    scale, shift = layer.modulation(tvec)
    return layer.linear(layer.norm((1 + scale) * x + shift))


def _masked_end(prompt, tokenizer, text_encoder):
    return ENCODE(prompt, tokenizer, text_encoder)[:, :-2]


FIRST = "transformer.blocks.0"
ROTATED = ("transformer.pe_embedder", f"{FIRST}.attn", "transformer")
TIMED = ("transformer", "transformer.tmlp", "transformer.tmlp.*")
BUGS = (
    Bug("the text's tokens counted", lambda m: replaced(Krea2RopeEmbedder, "__call__", _text_counted), ROTATED, "guided", "position"),
    Bug("columns before rows", lambda m: replaced(Krea2RopeEmbedder, "__call__", _columns_first), ROTATED, "guided", "position|axes"),
    Bug("RoPE theta", lambda m: replaced(m.transformer.pe_embedder, "theta", 10000), ROTATED, "guided", "theta"),
    Bug("axes of RoPE reversed", lambda m: replaced(m.transformer.pe_embedder, "axes_dim", m.transformer.pe_embedder.axes_dim[::-1]),
        ROTATED, "guided", "RoPE|position"),
    Bug("time not times a thousand", lambda m: replaced(Krea2TimestepMLP, "timestep_embedding", staticmethod(_no_factor)),
        TIMED, "guided", "timestep"),
    Bug("sin before cos", lambda m: replaced(Krea2TimestepMLP, "timestep_embedding", staticmethod(_sin_first)), TIMED, "guided",
        "halves"),
    Bug("shift before scale", lambda m: replaced(SingleStreamBlock, "__call__", _shift_first), (FIRST, f"{FIRST}.mod"), "guided",
        "order|scale|shift"),
    Bug("attention not gated", lambda m: replaced(SingleStreamBlock, "__call__", _ungated), (FIRST,), "guided", "its own code"),
    Bug("gate without its sigmoid", lambda m: replaced(Krea2Attention, "__call__", _gate_before_the_sigmoid),
        ("transformer.txtfusion.layerwise_blocks.0.attn",), "guided"),
    Bug("norm without the one", lambda m: replaced(Krea2RMSNorm, "__call__", _plain_weight),
        ("transformer.txtfusion.layerwise_blocks.0.prenorm",), "guided", "norm|factor|times"),
    Bug("eps of the norm of k", lambda m: replaced(m.transformer.blocks[1].attn.qknorm.knorm, "eps", 1e-3),
        ("transformer.blocks.1.attn.qknorm.knorm",), "guided", "eps is 0.001, the reference computes with 1e-05"),
    Bug("one layer further", lambda m: replaced(Krea2TextEncoder, "get_prompt_embeds", _next_layers), ("text_encoder",), "guided",
        "layer|hidden state"),
    Bug("numbers before layers", lambda m: replaced(Krea2TextEncoder, "get_prompt_embeds", _numbers_first), ("text_encoder",),
        "guided", "order|layout"),
    Bug("template not cut off", lambda m: replaced(Krea2TextEncoder, "_template_end", staticmethod(lambda ids: 0)), ("text_encoder",),
        "guided", "rows"),
    Bug("end of the prompt cut off", lambda m: replaced(Krea2PromptEncoder, "encode_prompt", staticmethod(_masked_end)),
        ("text_encoder",), "guided", "rows"),
    Bug("exact GELU before the modulation", lambda m: replaced(Krea2TimestepProj, "__call__", _exact), ("transformer.tproj",), "guided",
        "is exact GELU; the reference's is GELU in its tanh form"),
    Bug("text refiner left out", lambda m: replaced(m.transformer.txtfusion, "refiner_blocks", []),
        ("transformer", "transformer.txtfusion*"), "guided", "block"),
    Bug("latents not scaled", lambda m: replaced(QwenVAE, "decode", _not_scaled), ("vae",), "guided", "normalisation"),
    Bug("mean before deviation", lambda m: replaced(QwenVAE, "decode", _mean_first), ("vae",), "guided", "normalisation"),
    Bug("weaker shift", lambda m: replaced(LinearScheduler, "shift_sigmas", staticmethod(_weaker_shift)), ("scheduler",), "guided",
        "sigma shift: the port's is 0.5 times"),
    Bug("guidance one higher", lambda m: replaced(Krea2, "_predict", staticmethod(_from_the_conditional)), ("predict",), "guided",
        "guidance formula"),
    Bug("patches with channels last", lambda m: replaced(Krea2Transformer, "_patchify", staticmethod(_channels_last)),
        ("transformer", "transformer.first"), "guided", "order|layout"),
    Bug("shift before scale at the end", lambda m: replaced(SimpleModulation, "__call__", _shift_then_scale),
        ("transformer.last", "transformer.last.modulation"), "guided", "order|scale|shift"),
    Bug("modulated before the last norm", lambda m: replaced(LastLayer, "__call__", _normed_after),
        ("transformer.last",), "guided"),
)  # fmt: skip
