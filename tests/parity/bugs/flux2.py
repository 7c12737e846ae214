"""Bugs in FLUX.2 Klein."""

from __future__ import annotations

import mlx.core as mx
from bugs import Bug, rearranged, replaced, swapped, unloaded
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler
from mflux.models.flux.model.flux_transformer.common.attention_utils import AttentionUtils
from mflux.models.flux2.latent_creator.flux2_latent_creator import Flux2LatentCreator
from mflux.models.flux2.model.flux2_text_encoder.qwen3_text_encoder import Qwen3TextEncoder
from mflux.models.flux2.model.flux2_transformer.feed_forward import Flux2SwiGLU
from mflux.models.flux2.model.flux2_transformer.modulation import Flux2Modulation
from mflux.models.flux2.model.flux2_transformer.single_transformer_block import Flux2SingleTransformerBlock
from mflux.models.flux2.model.flux2_transformer.timestep_guidance_embeddings import Flux2TimestepGuidanceEmbeddings
from mflux.models.flux2.model.flux2_vae.common import Flux2Downsample2D, Flux2Upsample2D
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mlx import nn

ATTEND = AttentionUtils.compute_attention
EMBEDS = Qwen3TextEncoder.get_prompt_embeds
MODULATION = Flux2Modulation.__call__
TIMESTEP = Flux2TimestepGuidanceEmbeddings._timestep_embedding
SINGLE = Flux2SingleTransformerBlock.__call__
MU = FlowMatchEulerDiscreteScheduler._compute_empirical_mu
STEP = FlowMatchEulerDiscreteScheduler.step
PACK = Flux2LatentCreator.pack_latents
GRID = Flux2LatentCreator.prepare_grid_ids
TIME = Flux2TimestepGuidanceEmbeddings.__call__
ENCODE = Qwen3TextEncoder.__call__


def _half_rope(xq, xk, cos, sin):
    def turn(x):
        half = x.shape[-1] // 2
        one, two = x[..., :half].astype(mx.float32), x[..., half:].astype(mx.float32)
        return mx.concatenate([one * cos - two * sin, two * cos + one * sin], axis=-1).astype(x.dtype)

    return turn(xq), turn(xk)


def _unscaled(query, key, value, **more):
    return ATTEND(query=query * query.shape[-1] ** 0.5, key=key, value=value, **more)


def _scale_first(modulation, temb):
    return tuple((scale, shift, gate) for shift, scale, gate in MODULATION(modulation, temb))


def _not_flipped(timesteps, dim, flip_sin_to_cos=True):
    return TIMESTEP(timesteps, dim, False)


def _other_layers(encoder, **given):
    return EMBEDS(encoder, **(given | {"hidden_state_layers": (8, 17, 26)}))


def _up_and_gate(layer, x):
    one, two = mx.split(x, 2, axis=-1)
    return one * nn.silu(two)


def _no_gate(block, hidden_states, temb_mod_params, image_rotary_emb, **cache):
    shift, scale, _ = temb_mod_params
    return hidden_states + block.attn((1 + scale) * block.norm(hidden_states) + shift, image_rotary_emb)


def _no_mean(vae, packed_latents):
    std = mx.sqrt(vae.bn.running_var.reshape(1, -1, 1, 1) + vae.bn.eps)
    return vae._unpatchify_latents(packed_latents * std)


def _encode_std(vae, image):
    moments = vae.quant_conv(mx.transpose(vae.encoder(image), (0, 2, 3, 1)))
    return mx.split(mx.transpose(moments, (0, 3, 1, 2)), 2, axis=1)[1]


def _keys_first(w):
    width = 96
    return mx.concatenate([w[width : 2 * width], w[:width], w[2 * width :]], axis=0)


def _columns_first(latents, *, t_coord):
    return GRID(latents, t_coord=t_coord)[..., mx.array([0, 2, 1, 3])]


def _packed_by_columns(latents):
    return PACK(latents.transpose(0, 1, 3, 2))


def _thousandfold(embedder, timestep, guidance):
    return TIME(embedder, timestep * 1000, guidance)


def _padding_unmasked(encoder, input_ids, attention_mask=None, **more):
    return ENCODE(encoder, input_ids, mx.ones_like(input_ids), **more)


def _layers_reversed(encoder, **given):
    return EMBEDS(encoder, **(given | {"hidden_state_layers": (27, 18, 9)}))


def _normed_layers(encoder, input_ids, attention_mask=None, **more):
    last, states = ENCODE(encoder, input_ids, attention_mask, **more)
    return last, [encoder.norm(state) for state in states]


def _no_silu(modulation, temb):
    parts = mx.split(mx.expand_dims(modulation.linear(temb), axis=1), 3 * modulation.mod_param_sets, axis=-1)
    return tuple(parts[3 * n : 3 * n + 3] for n in range(modulation.mod_param_sets))


def _mean_taken_away(model):
    norm = model.transformer.transformer_blocks[1].attn.norm_k
    other = nn.LayerNorm(norm.weight.shape[0], eps=1e-6, bias=False)
    other.weight = norm.weight
    return replaced(model.transformer.transformer_blocks[1].attn, "norm_k", other)


def _mlp_first(block, hidden_states, temb_mod_params, image_rotary_emb, **cache):
    attention, right = block.attn, block.attn.to_out
    width = attention.inner_dim

    class Turned(nn.Module):
        def __call__(self, x):
            return right(mx.concatenate([x[..., width:], x[..., :width]], axis=-1))

    with replaced(attention, "to_out", Turned()):
        return SINGLE(block, hidden_states, temb_mod_params, image_rotary_emb, **cache)


def _turned_patches(latents):
    batch, channels, height, width = latents.shape
    fine = latents.reshape(batch, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 3, 5, 2)
    return fine.reshape(batch, channels // 4, 2 * height, 2 * width)


def _padded_before(layer, hidden_states):
    padded = mx.pad(hidden_states, ((0, 0), (0, 0), (1, 0), (1, 0)))
    return layer.conv(padded.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _linear_upsampling(layer, hidden_states):
    larger = nn.Upsample(scale_factor=2, mode="linear", align_corners=False)(hidden_states.transpose(0, 2, 3, 1))
    return layer.conv(larger).transpose(0, 3, 1, 2)


def _block(model, n):
    return model.transformer.transformer_blocks[n]


def _single(model, n):
    return model.transformer.single_transformer_blocks[n]


FIRST = "transformer.transformer_blocks.0"
BUGS = (
    Bug("fused rows in another order", lambda m: rearranged(_single(m, 0).attn.to_qkv_mlp_proj, _keys_first),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj",)),
    Bug("blocks swapped", lambda m: swapped(_block(m, 0).attn.to_q, _block(m, 1).attn.to_q),
        ("transformer.transformer_blocks.[01].attn.to_q",)),
    Bug("output norm not loaded", lambda m: unloaded(m.transformer.norm_out.linear), ("transformer.norm_out.linear",)),
    Bug("kernel flipped", lambda m: rearranged(m.vae.decoder.up_blocks[0].upsamplers[0].conv, lambda w: w[:, ::-1]),
        ("vae.decoder.up_blocks.0.upsamplers.0.conv*",)),
    Bug("RoPE theta", lambda m: replaced(m.transformer.pos_embed, "theta", 10000), ("transformer.pos_embed",)),
    Bug("RoPE in halves", lambda m: replaced(AttentionUtils, "apply_rope_bshd", staticmethod(_half_rope)), (f"{FIRST}.attn",)),
    Bug("no norm of added q", lambda m: replaced(_block(m, 1).attn, "norm_added_q", nn.Identity()),
        ("transformer.transformer_blocks.1.attn", "transformer.transformer_blocks.1.attn.norm_added_q")),
    Bug("layer norm eps", lambda m: replaced(_block(m, 0).norm2, "eps", 1e-4), (f"{FIRST}.norm2",)),
    Bug("attention scale twice", lambda m: replaced(AttentionUtils, "compute_attention", staticmethod(_unscaled)),
        (f"{FIRST}.attn",)),
    Bug("shift and scale", lambda m: replaced(Flux2Modulation, "__call__", _scale_first),
        ("transformer.double_stream_modulation_*", FIRST)),
    Bug("sin before cos", lambda m: replaced(Flux2TimestepGuidanceEmbeddings, "_timestep_embedding", staticmethod(_not_flipped)),
        ("transformer.time_guidance_embed",)),
    Bug("sigma shift", lambda m: replaced(
        FlowMatchEulerDiscreteScheduler, "_compute_empirical_mu", staticmethod(lambda *a, **k: MU(*a, **k) + 0.5)),
        ("scheduler",)),
    Bug("latent mean", lambda m: replaced(Flux2VAE, "unpack_packed_latents", _no_mean), ("vae",)),
    Bug("encoder layers", lambda m: replaced(Qwen3TextEncoder, "get_prompt_embeds", _other_layers), ("text_encoder",)),
    Bug("gate and up", lambda m: replaced(Flux2SwiGLU, "__call__", _up_and_gate), (f"{FIRST}.ff.act", f"{FIRST}.ff")),
    Bug("no gate", lambda m: replaced(Flux2SingleTransformerBlock, "__call__", _no_gate),
        ("transformer.single_transformer_blocks.0",)),
    Bug("encode gives the deviation", lambda m: replaced(Flux2VAE, "encode", _encode_std), ("vae",)),
    Bug("columns before rows", lambda m: replaced(Flux2LatentCreator, "prepare_grid_ids", staticmethod(_columns_first)),
        ("predict", "transformer")),
    Bug("timestep times 1000 twice", lambda m: replaced(Flux2TimestepGuidanceEmbeddings, "__call__", _thousandfold),
        ("transformer.time_guidance_embed",)),
    Bug("padding not masked", lambda m: replaced(Qwen3TextEncoder, "__call__", _padding_unmasked),
        ("text_encoder", "text_encoder.layers.0", "text_encoder.layers.0.self_attn")),
    Bug("layers in another order", lambda m: replaced(Qwen3TextEncoder, "get_prompt_embeds", _layers_reversed),
        ("text_encoder",)),
    Bug("hidden states normed", lambda m: replaced(Qwen3TextEncoder, "__call__", _normed_layers), ("text_encoder",)),
    Bug("no silu before the modulation", lambda m: replaced(Flux2Modulation, "__call__", _no_silu),
        ("transformer.double_stream_modulation_*",)),
    Bug("layer norm for RMS norm", _mean_taken_away, ("transformer.transformer_blocks.1.attn.norm_k",)),
    Bug("mlp before attention", lambda m: replaced(Flux2SingleTransformerBlock, "__call__", _mlp_first),
        ("transformer.single_transformer_blocks.0.attn",)),
    Bug("patches turned", lambda m: replaced(Flux2VAE, "_unpatchify_latents", staticmethod(_turned_patches)), ("vae",)),
    Bug("padded before", lambda m: replaced(Flux2Downsample2D, "__call__", _padded_before),
        ("vae.encoder.down_blocks.0.downsamplers.0*",)),
    Bug("linear upsampling", lambda m: replaced(Flux2Upsample2D, "__call__", _linear_upsampling),
        ("vae.decoder.up_blocks.0.upsamplers.0*",)),
    Bug("channels grouped otherwise", lambda m: replaced(
        m.vae.decoder.mid_block.resnets[0].norm1, "pytorch_compatible", False), ("vae.decoder.mid_block.resnets.0.norm1",)),
    Bug("statistics' eps", lambda m: replaced(m.vae.bn, "eps", 1e-2), ("vae", "vae.bn")),
    Bug("noise packed by columns", lambda m: replaced(Flux2LatentCreator, "pack_latents", staticmethod(_packed_by_columns)),
        ("loop",)),
)  # fmt: skip
