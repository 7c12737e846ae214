"""More bugs in Z-Image, with the causes that must be named."""

from __future__ import annotations

import math

import mlx.core as mx
from bugs import Bug, replaced, without
from mflux.models.common.schedulers.linear_scheduler import LinearScheduler
from mflux.models.z_image.model.z_image_text_encoder import attention as attention_module
from mflux.models.z_image.model.z_image_text_encoder.attention import Attention
from mflux.models.z_image.model.z_image_text_encoder.mlp import MLP
from mflux.models.z_image.model.z_image_text_encoder.prompt_encoder import PromptEncoder
from mflux.models.z_image.model.z_image_text_encoder.rope import RotaryEmbedding
from mflux.models.z_image.model.z_image_transformer.feed_forward import FeedForward
from mflux.models.z_image.model.z_image_transformer.timestep_embedder import TimestepEmbedder
from mflux.models.z_image.model.z_image_vae.common.resnet_block_2d import ResnetBlock2D
from mflux.models.z_image.model.z_image_vae.vae import VAE
from mlx import nn

DECODE = VAE.decode
ENCODE = PromptEncoder.encode_prompt
STEP = LinearScheduler.step
ROTARY = RotaryEmbedding.__call__
RESNET = ResnetBlock2D.__call__


def _gelu_mlp(layer, x):
    return layer.down_proj(nn.gelu(layer.gate_proj(x)) * layer.up_proj(x))


def _tanh_gelu(layer, x):
    return layer.w2(nn.gelu_approx(layer.w1(x)) * layer.w3(x))


def _relu_resnet(block, x):
    with replaced(nn, "silu", nn.relu):
        return RESNET(block, x)


def _positions_doubled(rotary, x, position_ids):
    with replaced(rotary, "inv_freq", rotary.inv_freq * 2):
        return ROTARY(rotary, x, position_ids)


class _HeadsLast(nn.Module):
    """Reshapes as if the heads were the inner axis."""

    def __init__(self, right, heads):
        super().__init__()
        self.right, self.heads = [right], heads

    def __call__(self, x):
        turned = x.reshape(*x.shape[:-1], self.heads, -1).swapaxes(-1, -2).reshape(x.shape)
        return self.right[0](turned)


def _heads_last(model):
    attention = model.transformer.layers[0].attention
    return replaced(attention, "to_out", [_HeadsLast(attention.to_out[0], attention.n_heads)])


def _keys_of_the_next_token(layer, hidden_states, attention_mask=None, position_embeddings=None):
    batch, length, _ = hidden_states.shape
    q = layer.q_norm(layer.q_proj(hidden_states).reshape(batch, length, layer.num_heads, layer.head_dim))
    k = layer.k_norm(layer.k_proj(hidden_states).reshape(batch, length, layer.num_kv_heads, layer.head_dim))
    v = layer.v_proj(hidden_states).reshape(batch, length, layer.num_kv_heads, layer.head_dim)
    q, k = Attention._apply_rotary_pos_emb(q, k, *position_embeddings)
    k, v = (mx.repeat(x, layer.num_kv_groups, axis=2) for x in (mx.roll(k, 1, axis=1), v))
    q, k, v = (mx.transpose(x, (0, 2, 1, 3)) for x in (q, k, v))
    out = attention_module.scaled_dot_product_attention(q, k, v, scale=layer.scale, mask=attention_mask)
    return layer.o_proj(mx.transpose(out, (0, 2, 1, 3)).reshape(batch, length, -1))


def _scaled_twice(vae, latents):
    return DECODE(vae, latents / vae.scaling_factor)


def _embeddings_doubled(prompt, tokenizer, text_encoder):
    return 2 * ENCODE(prompt, tokenizer, text_encoder)


def _first_rows_kept_off(prompt, tokenizer, text_encoder):
    return ENCODE(prompt, tokenizer, text_encoder)[4:]


def _half_step(scheduler, noise, timestep, latents, **more):
    return (latents + STEP(scheduler, noise=noise, timestep=timestep, latents=latents, **more)) / 2


def _deviation(vae, image):
    moments = vae.encoder(image[:, :, 0] if image.ndim == 5 else image)
    return ((mx.split(moments, 2, axis=1)[1] - vae.shift_factor) * vae.scaling_factor)[:, :, None]


def _template_cut(model):
    tokenizer = model.tokenizers["z_image"]
    right = tokenizer.tokenize

    def cut(prompt, **more):
        found = right(prompt, **more)
        length = int(mx.sum(found.attention_mask[0]).item())
        kept = mx.arange(found.attention_mask.shape[1]) < length - 5
        found.attention_mask = mx.where(kept, found.attention_mask, 0)
        found.input_ids = mx.where(kept, found.input_ids, 0)
        return found

    return replaced(tokenizer, "tokenize", cut)


def _next_layers(model):
    first, *others = model.transformer.layers
    return replaced(model.transformer, "layers", [*others, first])


def _in_halves(vae, latents):
    return mx.concatenate([DECODE(vae, half) for half in mx.split(latents, 2, axis=-1)], axis=-1)


def _short_frequencies(t, dim, max_period=10000.0):
    half = dim // 2
    frequencies = mx.exp(-math.log(max_period) * mx.arange(half, dtype=mx.float32) / half).astype(mx.bfloat16)
    angles = t[:, None].astype(mx.float32) * frequencies.astype(mx.float32)[None]
    return mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)


BLOCK = "transformer.noise_refiner.0"
LAYER = "text_encoder.layers.0"
BUGS = (
    Bug("encoder activation", lambda m: replaced(MLP, "__call__", _gelu_mlp), (f"{LAYER}.mlp",),
        cause="is exact GELU; the reference's is SiLU"),
    Bug("feed forward activation", lambda m: replaced(FeedForward, "__call__", _tanh_gelu), (f"{BLOCK}.feed_forward",),
        cause="is GELU in its tanh form; the reference's is SiLU"),
    Bug("decoder activation", lambda m: replaced(ResnetBlock2D, "__call__", _relu_resnet),
        ("vae.decoder.mid_block.resnets.0",), cause="is ReLU; the reference's is SiLU"),
    Bug("encoder positions doubled", lambda m: replaced(RotaryEmbedding, "__call__", _positions_doubled),
        ("text_encoder", "text_encoder.rotary_emb", f"{LAYER}.self_attn"), cause="RoPE"),
    Bug("heads as the inner axis", _heads_last, ("transformer.layers.0.attention*",), cause="order of heads"),
    Bug("keys of the next token", lambda m: replaced(Attention, "__call__", _keys_of_the_next_token),
        (f"{LAYER}.self_attn",), cause="k reaches the attention in another order of tokens"),
    Bug("latents scaled twice", lambda m: replaced(VAE, "decode", _scaled_twice), ("vae",), cause="normalisation|factor"),
    Bug("embeddings doubled", lambda m: replaced(PromptEncoder, "encode_prompt", staticmethod(_embeddings_doubled)),
        ("text_encoder",), cause="factor of 2"),
    Bug("first rows cut off", lambda m: replaced(PromptEncoder, "encode_prompt", staticmethod(_first_rows_kept_off)),
        ("text_encoder",), cause="4 more rows, the first"),
    Bug("step half as long", lambda m: replaced(LinearScheduler, "step", _half_step), ("scheduler",), cause="factor of 0.5"),
    Bug("encode gives the deviation", lambda m: replaced(VAE, "encode", _deviation), ("vae",)),
    Bug("end of the template cut off", _template_cut, ("tokenizer", "text_encoder"), cause="rows|token"),
    Bug("timestep not scaled", lambda m: replaced(m.transformer, "t_scale", 1.0), ("predict", "transformer"),
        cause="timestep"),
    Bug("no norm of the caption", lambda m: replaced(
        m.transformer, "cap_embedder", [nn.Identity(), m.transformer.cap_embedder[1]]),
        ("transformer.cap_embedder*", "transformer")),
    Bug("noise refiner left out", lambda m: replaced(m.transformer, "noise_refiner", []), ("transformer*",),
        cause="block count|own code"),
    Bug("kernel without bias", lambda m: without(m.vae.decoder.mid_block.resnets[1].conv2, "bias"),
        ("vae.decoder.mid_block.resnets.1.conv2*",)),
    Bug("layers numbered from one", _next_layers, ("transformer.layers.*",), cause="swapped|holds"),
    Bug("decoded in halves", lambda m: replaced(VAE, "decode", _in_halves), ("vae", "vae.decoder*")),
    Bug("frequencies in bfloat16", lambda m: replaced(
        TimestepEmbedder, "_timestep_embedding", staticmethod(_short_frequencies)), ("transformer.t_embedder",), cause="timestep"),
)  # fmt: skip
