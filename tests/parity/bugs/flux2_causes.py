"""More bugs in FLUX.2 Klein, guidance among them, with the causes that must be named."""

from __future__ import annotations

import contextlib
import math

import mlx.core as mx
from bugs import Bug, replaced
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler
from mflux.models.flux.model.flux_transformer.ada_layer_norm_continuous import AdaLayerNormContinuous
from mflux.models.flux2.model.flux2_text_encoder.prompt_encoder import Flux2PromptEncoder
from mflux.models.flux2.model.flux2_text_encoder.qwen3_text_rotary_embedding import Qwen3TextRotaryEmbedding
from mflux.models.flux2.model.flux2_transformer.feed_forward import Flux2FeedForward, Flux2SwiGLU
from mflux.models.flux2.model.flux2_transformer.timestep_guidance_embeddings import Flux2TimestepGuidanceEmbeddings
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mlx import nn

PREDICT = Flux2Klein._predict
PAIR = Flux2Klein._encode_prompt_pair
ROTARY = Qwen3TextRotaryEmbedding.__call__
SCHEDULE = FlowMatchEulerDiscreteScheduler.get_timesteps_and_sigmas
TEXT_IDS = Flux2PromptEncoder.prepare_text_ids


def _combined(combine):
    """``_predict`` with another formula of the guidance g, the conditional c and the unconditional u prediction."""

    def wrapped(transformer):
        def predict(**given):
            alone = PREDICT(transformer)
            conditional = alone(**(given | {"negative_prompt_embeds": None, "negative_text_ids": None}))
            if given["negative_prompt_embeds"] is None:
                return conditional
            other = {"prompt_embeds": given["negative_prompt_embeds"], "text_ids": given["negative_text_ids"]}
            unconditional = alone(**(given | other | {"negative_prompt_embeds": None, "negative_text_ids": None}))
            return combine(conditional, unconditional, given["guidance"])

        return predict

    return lambda model: replaced(Flux2Klein, "_predict", staticmethod(wrapped))


def _same_prompt_twice(model, *, prompt, negative_prompt, guidance):
    return PAIR(model, prompt=prompt, negative_prompt=prompt, guidance=guidance)


def _gelu_gate(layer, x):
    one, two = mx.split(x, 2, axis=-1)
    return nn.gelu_approx(one) * two


def _no_text_positions(prompt_embeds):
    return mx.zeros((*prompt_embeds.shape[:2], 4), dtype=mx.int32)


def _mean_and_deviation_exchanged(vae, packed_latents):
    mean = vae.bn.running_mean.reshape(1, -1, 1, 1)
    deviation = mx.sqrt(vae.bn.running_var.reshape(1, -1, 1, 1) + vae.bn.eps)
    return vae._unpatchify_latents(packed_latents * mean + deviation)


def _other_base(model):
    rotary = next(m for _, m in model.text_encoder.named_modules() if isinstance(m, Qwen3TextRotaryEmbedding))
    size = 2 * rotary.inv_freq.shape[0]
    return replaced(rotary, "inv_freq", 1.0 / (10000.0 ** (mx.arange(0, size, 2, dtype=mx.float32) / size)))


def _no_norm_of_q(model):
    return replaced(model.text_encoder.layers[0].self_attn, "q_norm", nn.Identity())


def _shorter_periods(timesteps, dim, flip_sin_to_cos=True):
    half = dim // 2
    angles = timesteps[:, None] * mx.exp(-math.log(1000.0) * mx.arange(half, dtype=mx.float32) / half)
    return mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)


def _shift_first(norm, x, text_embeddings):
    shift, scale = mx.split(norm.linear(nn.silu(text_embeddings)), 2, axis=-1)
    return norm.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]


def _thousandth(transformer):
    predict = PREDICT(transformer)
    return lambda **given: predict(**(given | {"timestep": given["timestep"] / 1000}))


def _residual_inside(layer, x):
    return x + layer.linear_out(layer.act(layer.linear_in(x)))


def _guided_at_first(transformer):
    predict = PREDICT(transformer)
    alone = {"negative_prompt_embeds": None, "negative_text_ids": None}

    def predicted(**given):
        time = given["timestep"].reshape(-1)[0].item()
        return predict(**(given if time in (1, 1000) else given | alone))

    return predicted


def _text_from_one(*args, **given):
    return TEXT_IDS(*args, **given) + mx.array([0, 0, 0, 1], dtype=mx.int32)


@contextlib.contextmanager
def _coarse_norms(model):
    norms = [module for _, module in model.vae.decoder.named_modules() if isinstance(module, nn.GroupNorm)]
    with contextlib.ExitStack() as stack:
        for norm in norms:
            stack.enter_context(replaced(norm, "eps", 1e-3))
        yield


def _rest_of_noise(**given):
    timesteps, sigmas = SCHEDULE(**given)
    return timesteps, mx.concatenate([sigmas[:-1], mx.array([0.02])])


FIRST = "transformer.transformer_blocks.0"
BUGS = (
    Bug("guidance from the conditional", _combined(lambda c, u, g: c + g * (c - u)), ("predict",), "guided", "guidance formula"),
    Bug("conditional and unconditional exchanged", _combined(lambda c, u, g: c + g * (u - c)), ("predict",), "guided",
        "guidance formula"),
    Bug("no guidance", _combined(lambda c, u, g: c), ("predict",), "guided", "c alone"),
    Bug("guidance without the unconditional", _combined(lambda c, u, g: g * (c - u)), ("predict",), "guided",
        r"guidance formula.*g\(c - u\)"),
    Bug("guidance rescaled", _combined(lambda c, u, g: 0.7 * (u + g * (c - u))), ("predict",), "guided", "guidance formula|factor"),
    Bug("guidance is one higher", _combined(lambda c, u, g: u + (g + 1) * (c - u)), ("predict",), "guided", "guidance formula"),
    Bug("negative prompt is the prompt", lambda m: replaced(Flux2Klein, "_encode_prompt_pair", _same_prompt_twice),
        ("tokenizer", "text_encoder"), "guided"),
    Bug("gate by GELU", lambda m: replaced(Flux2SwiGLU, "__call__", _gelu_gate), (f"{FIRST}.ff.act", f"{FIRST}.ff"),
        cause="GELU in its tanh form; the reference's is SiLU"),
    Bug("text without positions", lambda m: replaced(Flux2PromptEncoder, "prepare_text_ids", staticmethod(_no_text_positions)),
        ("predict", "transformer", "transformer.pos_embed"), cause="positions"),
    Bug("mean and deviation exchanged", lambda m: replaced(Flux2VAE, "unpack_packed_latents", _mean_and_deviation_exchanged),
        ("vae",), cause="normalisation"),
    Bug("encoder RoPE base", _other_base, ("text_encoder*",), cause="RoPE"),
    Bug("encoder without norm of q", _no_norm_of_q, ("text_encoder.layers.0.self_attn*",), cause="norm"),
    Bug("shorter periods of the timestep", lambda m: replaced(
        Flux2TimestepGuidanceEmbeddings, "_timestep_embedding", staticmethod(_shorter_periods)),
        ("transformer.time_guidance_embed*",), cause="timestep"),
    Bug("shift before scale at the end", lambda m: replaced(AdaLayerNormContinuous, "__call__", _shift_first),
        ("transformer.norm_out",), cause="order"),
    Bug("timestep in thousandths, which this transformer multiplies again",
        lambda m: replaced(Flux2Klein, "_predict", staticmethod(_thousandth)), ()),
    Bug("no guidance in the last step", lambda m: replaced(Flux2Klein, "_predict", staticmethod(_guided_at_first)),
        ("predict",), "guided", "c alone|predictions a step"),
    Bug("text's positions from one", lambda m: replaced(Flux2PromptEncoder, "prepare_text_ids", staticmethod(_text_from_one)),
        ("predict", "transformer", "transformer.pos_embed"), cause="positions"),
    Bug("eps of all the decoder's norms", _coarse_norms, ("vae.decoder.mid_block.resnets.0.norm1*",), cause="eps"),
    Bug("schedule ends above zero", lambda m: replaced(
        FlowMatchEulerDiscreteScheduler, "get_timesteps_and_sigmas", staticmethod(_rest_of_noise)), ("scheduler",),
        cause="sigma|spacing|schedule"),
    Bug("residual inside the feed forward", lambda m: replaced(Flux2FeedForward, "__call__", _residual_inside),
        (f"{FIRST}.ff",)),
)  # fmt: skip
