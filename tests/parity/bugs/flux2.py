"""Bugs in FLUX.2 Klein."""

from __future__ import annotations

import mlx.core as mx
from bugs import Bug, crossed, rearranged, replaced, unloaded
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler
from mflux.models.flux.model.flux_transformer.common.attention_utils import AttentionUtils
from mflux.models.flux2.model.flux2_text_encoder.qwen3_text_encoder import Qwen3TextEncoder
from mflux.models.flux2.model.flux2_transformer.feed_forward import Flux2SwiGLU
from mflux.models.flux2.model.flux2_transformer.modulation import Flux2Modulation
from mflux.models.flux2.model.flux2_transformer.single_transformer_block import Flux2SingleTransformerBlock
from mflux.models.flux2.model.flux2_transformer.timestep_guidance_embeddings import Flux2TimestepGuidanceEmbeddings
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mlx import nn

ATTEND = AttentionUtils.compute_attention
EMBEDS = Qwen3TextEncoder.get_prompt_embeds
MODULATION = Flux2Modulation.__call__
TIMESTEP = Flux2TimestepGuidanceEmbeddings._timestep_embedding
MU = FlowMatchEulerDiscreteScheduler._compute_empirical_mu
STEP = FlowMatchEulerDiscreteScheduler.step


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


def _block(model, n):
    return model.transformer.transformer_blocks[n]


def _single(model, n):
    return model.transformer.single_transformer_blocks[n]


FIRST = "transformer.transformer_blocks.0"
BUGS = (
    Bug("fused rows in another order", lambda m: rearranged(_single(m, 0).attn.to_qkv_mlp_proj, _keys_first),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj",)),
    Bug("blocks crossed", lambda m: crossed(_block(m, 0).attn.to_q, _block(m, 1).attn.to_q),
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
)  # fmt: skip
