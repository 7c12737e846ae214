"""Bugs in FIBO: both predictions in one call of the transformer, which takes a text encoder's layer in each block."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from bugs import Bug, replaced
from mflux.models.fibo.model.fibo_text_encoder.prompt_encoder import PromptEncoder
from mflux.models.fibo.model.fibo_transformer.joint_transformer_block import FiboJointTransformerBlock
from mflux.models.fibo.model.fibo_transformer.transformer import FiboTransformer
from mflux.models.fibo.model.fibo_vae.wan_2_2_vae import Wan2_2_VAE
from mflux.models.fibo.variants.txt2img.fibo import FIBO

JOINT = FiboTransformer._apply_joint_transformer_block
ENCODE = PromptEncoder.encode_prompt
EMBEDS = PromptEncoder._get_prompt_embeds
GUIDED = FIBO._apply_classifier_free_guidance
TIME = FiboTransformer._compute_time_embeddings
BLOCK = FiboJointTransformerBlock.__call__


def _layer_first(*, encoder_hidden_states, text_encoder_layer, **rest):
    half = text_encoder_layer.shape[-1]
    return JOINT(
        encoder_hidden_states=mx.concatenate([text_encoder_layer, text_encoder_layer], axis=-1),
        text_encoder_layer=encoder_hidden_states[:, :, :half], **rest,
    )  # fmt: skip


def _one_layer_on(**given):
    prompt, embeds, layers = ENCODE(**given)
    return prompt, embeds, [*layers[1:], layers[-1]]


def _layers_reversed(**given):
    prompt, embeds, layers = ENCODE(**given)
    return prompt, embeds, layers[::-1]


def _layers_exchanged(*args, **kwargs):
    embeds, layers, mask = EMBEDS(*args, **kwargs)
    half = embeds.shape[-1] // 2
    return mx.concatenate([embeds[..., half:], embeds[..., :half]], axis=-1), layers, mask


def _exchanged(noise, guidance):
    half = noise.shape[0] // 2
    return GUIDED(mx.concatenate([noise[half:], noise[:half]]), guidance)


def _from_the_prompt(noise, guidance):
    return GUIDED(noise, guidance + 1)


def _sigma(t, config, batch_size, dtype, time_embed):
    return TIME(t, config, batch_size, dtype, lambda timestep, dtype: time_embed(timestep / 1000, dtype=dtype))


def _no_gate(block, temb, hidden_states, encoder_hidden_states, image_rotary_emb, attention_mask=None):
    text, image = BLOCK(block, temb, hidden_states, encoder_hidden_states, image_rotary_emb, attention_mask)
    return text, hidden_states + image


def _rows_for_columns(x, patch_size):
    batch, channels, frames, height, width = x.shape
    x = x.reshape(batch, channels // 4, 2, 2, frames, height, width).transpose(0, 1, 4, 5, 2, 6, 3)
    return x.reshape(batch, channels // 4, frames, 2 * height, 2 * width)


BUGS = (
    Bug("text's layer before the caption", lambda m: replaced(FiboTransformer, "_apply_joint_transformer_block", staticmethod(_layer_first)),
        ("transformer", "transformer.transformer_blocks.0"), "guided"),
    Bug("one layer further", lambda m: replaced(PromptEncoder, "encode_prompt", staticmethod(_one_layer_on)), ("text_encoder",),
        "guided", "hidden state|layer"),
    Bug("last two layers exchanged", lambda m: replaced(PromptEncoder, "_get_prompt_embeds", staticmethod(_layers_exchanged)),
        ("text_encoder",), "guided", "hidden states|order"),
    Bug("predictions exchanged", lambda m: replaced(FIBO, "_apply_classifier_free_guidance", staticmethod(_exchanged)),
        ("predict",), "guided", "guidance formula"),
    Bug("guidance from the prompt", lambda m: replaced(FIBO, "_apply_classifier_free_guidance", staticmethod(_from_the_prompt)),
        ("predict",), "guided", "guidance formula"),
    Bug("time is the sigma", lambda m: replaced(FiboTransformer, "_compute_time_embeddings", staticmethod(_sigma)),
        ("transformer", "transformer.time_embed*"), "guided", "timestep"),
    Bug("residual twice", lambda m: replaced(FiboJointTransformerBlock, "__call__", _no_gate), ("transformer.transformer_blocks.0",),
        "guided", "its own code"),
    Bug("patches by columns", lambda m: replaced(Wan2_2_VAE, "_unpatchify", staticmethod(_rows_for_columns)), ("vae",), "guided",
        "order|layout"),
    Bug("layers reversed", lambda m: replaced(PromptEncoder, "encode_prompt", staticmethod(_layers_reversed)), ("text_encoder",),
        "guided", "hidden state|layer"),
    Bug("means of the next channels", lambda m: replaced(Wan2_2_VAE, "LATENTS_MEAN", np.roll(Wan2_2_VAE.LATENTS_MEAN, 1)),
        ("vae",), "guided", "normalisation"),
)  # fmt: skip
