"""Bugs in ERNIE-Image."""

from __future__ import annotations

import contextlib
import functools
import types

import mlx.core as mx
from bugs import Bug, replaced, swapped
from mflux.models.common.schedulers.linear_scheduler import LinearScheduler
from mflux.models.ernie_image.model.ernie_text_encoder import text_encoder as encoder_module
from mflux.models.ernie_image.model.ernie_text_encoder.prompt_encoder import ErniePromptEncoder
from mflux.models.ernie_image.model.ernie_transformer import attention as attention_module
from mflux.models.ernie_image.model.ernie_transformer import transformer as transformer_module
from mflux.models.ernie_image.model.ernie_transformer.feed_forward import ErnieFeedForward
from mflux.models.ernie_image.model.ernie_transformer.transformer_block import ErnieTransformerBlock
from mflux.models.ernie_image.variants.txt2img.ernie_image import ErnieImage
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mlx import nn

ATTEND = encoder_module._Attention.__call__
ENCODE = encoder_module.ErnieMistralTextEncoder.__call__
POSITIONS = transformer_module.ErnieTransformer.get_pos_encoding
TIMESTEP = transformer_module.get_timestep_embedding
BLOCK = ErnieTransformerBlock.__call__
PREDICT = ErnieImage._predict
ENCODE_PROMPT = ErniePromptEncoder.encode_prompt


def _interleaved(q, k, cos, sin):
    def turn(x):
        pairs = x.reshape(*x.shape[:-1], -1, 2)
        turned = mx.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)
        return x * cos + turned * sin

    return turn(q), turn(k)


def _columns_first(transformer, B, H, W, T, text_lens):
    cos, sin, mask = POSITIONS(transformer, B, H, W, T, text_lens)
    order = mx.arange(H * W).reshape(H, W).T.reshape(-1)
    rows = mx.concatenate([order, mx.arange(H * W, H * W + T)])
    return cos[:, rows], sin[:, rows], mask


def _no_mask(attention, x, mask, cos, sin):
    return ATTEND(attention, x, mx.zeros_like(mask), cos, sin)


def _scale_first(block, x, cos, sin, temb, mask):
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = temb
    return BLOCK(block, x, cos, sin, (scale, shift, gate, scale_mlp, shift_mlp, gate_mlp), mask)


def _cos_first(timesteps, dim):
    right = TIMESTEP(timesteps, dim)
    return mx.concatenate([right[:, dim // 2 :], right[:, : dim // 2]], axis=-1)


def _sigma_alone(transformer, *args):
    predict = PREDICT(transformer, *args)
    return lambda **given: predict(**(given | {"sigma": given["sigma"] / 1000}))


def _unshifted(sigmas, config, **more):
    return mx.concatenate([sigmas, mx.zeros(1)])


def _no_deviation(vae, packed_latents):
    return vae._unpatchify_latents(packed_latents + vae.bn.running_mean.reshape(1, -1, 1, 1))


def _last_layer(encoder, input_ids, attention_mask=None):
    with replaced(encoder, "_num_hidden_layers", encoder._num_hidden_layers + 1):
        return ENCODE(encoder, input_ids, attention_mask)


def _from_the_conditional(transformer, *args):
    predict = PREDICT(transformer, *args)
    return lambda **given: predict(**(given | {"guidance": given["guidance"] + 1}))


@contextlib.contextmanager
def _guidance(model):
    # Two prompts are padded to the full size's width, even if the encoder has another.
    width = model.text_encoder.language_model.model.embed_tokens.weight.shape[-1]
    batch = functools.partial(ErniePromptEncoder.build_text_batch, hidden_size=width)
    with (
        replaced(ErniePromptEncoder, "build_text_batch", staticmethod(batch)),
        replaced(ErnieImage, "_predict", staticmethod(_from_the_conditional)),
    ):
        yield


def _tanh(layer, x):
    return layer.linear_fc2(layer.up_proj(x) * nn.gelu_approx(layer.gate_proj(x)))


def _stale_residual(layer, x, mask, cos, sin):
    h = x + layer.self_attn(layer.input_layernorm(x), mask, cos, sin)
    return x + layer.mlp(layer.post_attention_layernorm(h))


def _scale_last(norm, x, c):
    shift, scale = mx.split(norm.linear(c), 2, axis=-1)
    return norm.norm(x) * (1 + scale[:, None, :]) + shift[:, None, :]


def _with_a_space(model):
    tokenizer = model.tokenizers["ernie"]
    right = tokenizer.tokenize
    return replaced(tokenizer, "tokenize", lambda prompt, **more: right(f"a {prompt}"[: len(prompt)], **more))


@contextlib.contextmanager
def _right_guidance(model, predict=None):
    # Two prompts are padded to the full size's width, even if the encoder has another.
    width = model.text_encoder.language_model.model.embed_tokens.weight.shape[-1]
    batch = functools.partial(ErniePromptEncoder.build_text_batch, hidden_size=width)
    with (
        replaced(ErniePromptEncoder, "build_text_batch", staticmethod(batch)),
        replaced(ErnieImage, "_predict", staticmethod(predict or PREDICT)),
    ):
        yield


def _prompts_exchanged(transformer, *args):
    predict = PREDICT(transformer, *args)
    return lambda **given: predict(**(given | {"guidance": 1 - given["guidance"]}))


def _text_not_masked(transformer, B, H, W, T, text_lens):
    cos, sin, mask = POSITIONS(transformer, B, H, W, T, text_lens)
    return cos, sin, mx.zeros_like(mask)


@contextlib.contextmanager
def _guided_without_mask(model):
    with (
        _right_guidance(model),
        replaced(transformer_module.ErnieTransformer, "get_pos_encoding", _text_not_masked),
    ):
        yield


def _text_mask_inverted(transformer, B, H, W, T, text_lens):
    cos, sin, mask = POSITIONS(transformer, B, H, W, T, text_lens)
    text = mx.where(mask[..., H * W :] == 0, -float("inf"), 0.0).astype(mask.dtype)
    return cos, sin, mx.concatenate([mask[..., : H * W], text], axis=-1)


def _image_at_time_zero(transformer, B, H, W, T, text_lens):
    _, _, mask = POSITIONS(transformer, B, H, W, T, text_lens)
    rows, columns = mx.meshgrid(mx.arange(H), mx.arange(W), indexing="ij")
    image = mx.stack([mx.zeros(H * W), rows.reshape(-1), columns.reshape(-1)], axis=-1)
    text = mx.stack([mx.arange(T), mx.zeros(T), mx.zeros(T)], axis=-1)
    angles = transformer.pos_embed(mx.concatenate([image, text])[None].astype(mx.float32))
    return mx.cos(angles), mx.sin(angles), mask


def _keys_tiled(attention, x, mask, cos, sin):
    fake = types.SimpleNamespace(**vars(mx))
    fake.repeat = lambda array, times, axis: mx.concatenate([array] * times, axis=axis)
    with replaced(encoder_module, "mx", fake):
        return ATTEND(attention, x, mask, cos, sin)


def _one_added(norm, x):
    return mx.fast.rms_norm(x, 1 + norm.weight, norm.eps)


def _gated_residual(block, x, cos, sin, temb, mask):
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = temb
    attended = block.self_attention(block.adaLN_sa_ln(x) * (1 + scale_msa) + shift_msa, cos, sin, mask)
    x = gate_msa * x + attended
    return gate_mlp * x + block.mlp(block.adaLN_mlp_ln(x) * (1 + scale_mlp) + shift_mlp)


def _first_token_dropped(prompt, tokenizer, text_encoder, max_length=None):
    embeds, length = ENCODE_PROMPT(prompt, tokenizer, text_encoder, max_length)
    return embeds[1:], length - 1


def _one_step_too_far(scheduler, noise, timestep, latents, **more):
    after = scheduler._sigmas[min(timestep + 2, len(scheduler._sigmas) - 1)]
    return latents + noise * (after - scheduler._sigmas[timestep]).astype(latents.dtype)


def _mean_before_deviation(vae, packed_latents):
    deviation = mx.sqrt(vae.bn.running_var + vae.bn.eps).reshape(1, -1, 1, 1)
    return vae._unpatchify_latents((packed_latents + vae.bn.running_mean.reshape(1, -1, 1, 1)) * deviation)


def _layer(model, n):
    return model.transformer.layers[n]


def _encoder_layer(model, n):
    return model.text_encoder.language_model.model.layers[n]


ENCODER = "text_encoder.language_model.model.layers"
FIRST = "transformer.layers.0"
BUGS = (
    Bug("q and v swapped", lambda m: swapped(_layer(m, 2).self_attention.to_q, _layer(m, 2).self_attention.to_v),
        ("transformer.layers.2.self_attention.to_[qv]",)),
    Bug("gate and up swapped", lambda m: swapped(_encoder_layer(m, 1).mlp.gate_proj, _encoder_layer(m, 1).mlp.up_proj),
        (f"{ENCODER}.1.mlp.gate_proj", f"{ENCODER}.1.mlp.up_proj")),
    Bug("columns before rows", lambda m: replaced(transformer_module.ErnieTransformer, "get_pos_encoding", _columns_first),
        (f"{FIRST}.self_attention", FIRST, "transformer", "transformer.pos_embed", "predict")),
    Bug("RoPE interleaved", lambda m: replaced(attention_module, "apply_rotary_emb", _interleaved), (f"{FIRST}.self_attention",)),
    Bug("norm eps", lambda m: replaced(_layer(m, 1).adaLN_sa_ln, "eps", 1e-4), ("transformer.layers.1.adaLN_sa_ln",)),
    Bug("attention scale", lambda m: replaced(_layer(m, 0).self_attention, "scale", 1.0), (f"{FIRST}.self_attention",)),
    Bug("no causal mask", lambda m: replaced(encoder_module._Attention, "__call__", _no_mask),
        (f"{ENCODER}.0.self_attn", f"{ENCODER}.0", "text_encoder")),
    Bug("shift and scale", lambda m: replaced(ErnieTransformerBlock, "__call__", _scale_first), (FIRST,)),
    Bug("cos before sin", lambda m: replaced(transformer_module, "get_timestep_embedding", _cos_first),
        ("transformer", "transformer.time_embedding")),
    Bug("sigma for timestep", lambda m: replaced(ErnieImage, "_predict", staticmethod(_sigma_alone)), ("predict", "transformer")),
    Bug("no sigma shift", lambda m: replaced(LinearScheduler, "shift_sigmas", staticmethod(_unshifted)), ("scheduler",)),
    Bug("latent deviation", lambda m: replaced(Flux2VAE, "unpack_packed_latents", _no_deviation), ("vae",)),
    Bug("last layer", lambda m: replaced(encoder_module.ErnieMistralTextEncoder, "__call__", _last_layer), ("text_encoder",)),
    Bug("guidance formula", _guidance, ("predict",), "guided"),
    Bug("gelu by tanh", lambda m: replaced(ErnieFeedForward, "__call__", _tanh), (f"{FIRST}.mlp",),
        cause="is GELU in its tanh form; the reference's is exact GELU"),
    Bug("decoder norm eps", lambda m: replaced(m.vae.decoder.conv_norm_out, "eps", 1e-4), ("vae.decoder.conv_norm_out*",)),
    Bug("stale residual", lambda m: replaced(encoder_module._DecoderLayer, "__call__", _stale_residual), (f"{ENCODER}.0",)),
    Bug("final scale and shift", lambda m: replaced(transformer_module.ErnieAdaLNContinuous, "__call__", _scale_last),
        ("transformer.final_norm",)),
    Bug("another prompt text", _with_a_space, ("tokenizer", "text_encoder")),
    Bug("prompts exchanged", functools.partial(_right_guidance, predict=_prompts_exchanged), ("predict",), "guided"),
    Bug("padding not masked", _guided_without_mask,
        (f"{FIRST}.self_attention", FIRST, "transformer", "predict"), "guided"),
    Bug("text mask inverted", lambda m: replaced(transformer_module.ErnieTransformer, "get_pos_encoding", _text_mask_inverted),
        (f"{FIRST}.self_attention", FIRST, "transformer", "predict")),
    Bug("image at time zero", lambda m: replaced(transformer_module.ErnieTransformer, "get_pos_encoding", _image_at_time_zero),
        (f"{FIRST}.self_attention", FIRST, "transformer", "transformer.pos_embed", "predict")),
    Bug("keys tiled", lambda m: replaced(encoder_module._Attention, "__call__", _keys_tiled), (f"{ENCODER}.0.self_attn",)),
    Bug("one added to the norm's weight", lambda m: replaced(encoder_module._RMSNorm, "__call__", _one_added),
        (f"{ENCODER}.0.input_layernorm",)),
    Bug("no silu before the modulation", lambda m: replaced(
        transformer_module, "nn", types.SimpleNamespace(silu=lambda x: x)), ("transformer",)),
    Bug("gate on the residual", lambda m: replaced(ErnieTransformerBlock, "__call__", _gated_residual), (FIRST,)),
    Bug("first token dropped", lambda m: replaced(ErniePromptEncoder, "encode_prompt", staticmethod(_first_token_dropped)),
        ("text_encoder",)),
    Bug("one step too far", lambda m: replaced(LinearScheduler, "step", _one_step_too_far), ("scheduler",)),
    Bug("mean before deviation", lambda m: replaced(Flux2VAE, "unpack_packed_latents", _mean_before_deviation), ("vae",)),
)  # fmt: skip
