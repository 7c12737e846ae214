"""More bugs in ERNIE-Image, second prompts among them, with the causes that must be named."""

from __future__ import annotations

import contextlib
import math

import mlx.core as mx
from bugs import Bug, replaced, without
from bugs.ernie_image import _right_guidance
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.common.schedulers.linear_scheduler import LinearScheduler
from mflux.models.ernie_image.model.ernie_text_encoder import text_encoder as encoder_module
from mflux.models.ernie_image.model.ernie_text_encoder.prompt_encoder import ErniePromptEncoder
from mflux.models.ernie_image.model.ernie_transformer import attention as attention_module
from mflux.models.ernie_image.model.ernie_transformer import transformer as transformer_module
from mflux.models.ernie_image.model.ernie_transformer.attention import ErnieAttention
from mflux.models.ernie_image.model.ernie_transformer.feed_forward import ErnieFeedForward
from mflux.models.ernie_image.variants.txt2img.ernie_image import ErnieImage
from mlx import nn

PREDICT = ErnieImage._predict
ENCODE_PROMPT = ErniePromptEncoder.encode_prompt
ATTEND = ErnieAttention.__call__
ROPE = attention_module.apply_rotary_emb
SHIFT = LinearScheduler.shift_sigmas


def _rescaled(transformer, *args):
    predict = PREDICT(transformer, *args)
    return lambda **given: 0.5 * predict(**given)


def _second_time_zero(transformer, *args):
    class Late:
        def __call__(self, *, timestep, **given):
            return transformer(timestep=timestep * mx.array([1.0, 0.0])[: timestep.shape[0]], **given)

    late = Late()
    late.get_pos_encoding = transformer.get_pos_encoding
    return PREDICT(late, *args)


def _no_negative(model, *, prompt, negative_prompt, guidance):
    return ENCODE_PROMPTS(model, prompt=prompt, negative_prompt=" ", guidance=guidance)


ENCODE_PROMPTS = ErnieImage._encode_prompts


def _relu_mlp(layer, x):
    return layer.down_proj(nn.relu(layer.gate_proj(x)) * layer.up_proj(x))


def _quick(layer, x):
    return layer.linear_fc2(layer.up_proj(x) * nn.gelu_fast_approx(layer.gate_proj(x)))


def _next_token(model):
    tokenizer = model.tokenizers["ernie"]
    right = tokenizer.tokenize

    def moved(prompt, **more):
        found = right(prompt, **more)
        found.input_ids = mx.concatenate([found.input_ids[:, 1:], found.input_ids[:, :1]], axis=1)
        return found

    return replaced(tokenizer, "tokenize", moved)


def _turned_twice(q, k, cos, sin):
    return ROPE(*ROPE(q, k, cos, sin), cos, sin)


def _last_token_only(prompt, tokenizer, text_encoder, max_length=None):
    embeds, length = ENCODE_PROMPT(prompt, tokenizer, text_encoder, max_length)
    return embeds[:-3], length - 3


def _values_scaled(attention, x, cos, sin, mask):
    with replaced(attention.to_v, "weight", attention.to_v.weight * 1.25):
        return ATTEND(attention, x, cos, sin, mask)


def _weaker_shift(sigmas, config, **more):
    shifted = SHIFT(sigmas, config, **more)
    return shifted / (2 - shifted)


def _norms_after(attention, x, cos, sin, mask):
    q, k = attention.norm_q, attention.norm_k
    shape = (*x.shape[:2], attention.num_heads, attention.head_dim)
    turned = attention_module.apply_rotary_emb(
        attention.to_q(x).reshape(shape), attention.to_k(x).reshape(shape), cos, sin
    )
    parts = q(turned[0]), k(turned[1]), attention.to_v(x).reshape(shape)
    parts = [part.transpose(0, 2, 1, 3) for part in parts]
    out = attention_module.scaled_dot_product_attention(*parts, scale=attention.scale, mask=mask)
    return attention.to_out[0](out.transpose(0, 2, 1, 3).reshape(x.shape))


ENCODER = "text_encoder.language_model.model.layers"


@contextlib.contextmanager
def _end_masked(model):
    with _right_guidance(model):
        batch = ErniePromptEncoder.build_text_batch

        def shorter(**given):
            embeds, lengths = batch(**given)
            return embeds, lengths - 1

        with replaced(ErniePromptEncoder, "build_text_batch", staticmethod(shorter)):
            yield


def _one_frequency_less(timesteps, dim):
    half = dim // 2
    frequencies = mx.exp(-math.log(10000) / (half - 1) * mx.arange(half, dtype=mx.float32))
    angles = timesteps[:, None].astype(mx.float32) * frequencies[None]
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


def _rounded_angles(timesteps, dim):
    frequencies = mx.exp(-math.log(10000) / (dim // 2) * mx.arange(dim // 2, dtype=mx.float32))
    angles = timesteps[:, None].astype(ModelConfig.precision) * frequencies.astype(ModelConfig.precision)[None]
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


FIRST = "transformer.layers.0"
BUGS = (
    Bug("guidance halved", lambda m: _right_guidance(m, _rescaled), ("predict",), "guided", "guidance formula|factor of 0.5"),
    Bug("second time is zero", lambda m: _right_guidance(m, _second_time_zero), ("predict", "transformer*"), "guided", "timestep"),
    Bug("negative prompt left out", lambda m: replaced(ErnieImage, "_encode_prompts", _no_negative),
        ("tokenizer", "text_encoder"), "guided"),
    Bug("encoder activation", lambda m: replaced(encoder_module._MLP, "__call__", _relu_mlp), (f"{ENCODER}.0.mlp",),
        cause="is ReLU; the reference's is SiLU"),
    Bug("gelu by sigmoid", lambda m: replaced(ErnieFeedForward, "__call__", _quick), (f"{FIRST}.mlp",),
        cause="is GELU in its sigmoid form; the reference's is exact GELU"),
    Bug("the next token", _next_token, ("tokenizer", "text_encoder"), cause="token"),
    Bug("turned twice", lambda m: replaced(attention_module, "apply_rotary_emb", _turned_twice), (f"{FIRST}.self_attention",),
        cause="RoPE"),
    Bug("last rows cut off", lambda m: replaced(ErniePromptEncoder, "encode_prompt", staticmethod(_last_token_only)),
        ("text_encoder",), cause="3 more rows, the last"),
    Bug("values scaled", lambda m: replaced(ErnieAttention, "__call__", _values_scaled), (f"{FIRST}.self_attention*",),
        cause="factor of 1.25|1.25 times"),
    Bug("weaker shift", lambda m: replaced(LinearScheduler, "shift_sigmas", staticmethod(_weaker_shift)), ("scheduler",),
        cause="sigma shift: the port's is 0.5 times"),
    Bug("norms after the rotation", lambda m: replaced(ErnieAttention, "__call__", _norms_after), (f"{FIRST}.self_attention",)),
    Bug("last convolution without bias", lambda m: without(m.vae.decoder.conv_out, "bias"), ("vae.decoder.conv_out*",)),
    Bug("last token masked", _end_masked, (f"{FIRST}.self_attention", FIRST, "transformer", "predict"), "guided", "mask"),
    Bug("one frequency less", lambda m: replaced(transformer_module, "get_timestep_embedding", _one_frequency_less),
        ("transformer", "transformer.time_embedding"), cause="timestep"),
    Bug("sinusoid in the type of the weights", lambda m: replaced(transformer_module, "get_timestep_embedding", _rounded_angles),
        ("transformer", "transformer.time_embedding"), dtypes=("bfloat16",)),
)  # fmt: skip
