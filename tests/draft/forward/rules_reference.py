"""A small reference made for the rules of drafting: what is folded, what raises, what is proven."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput

TABLE_LENGTH = 6


class Folded(nn.Module):
    """The config decides all tests."""

    def __init__(self, width: int, use_bias: bool):
        super().__init__()
        self.use_bias, self.extra, self.shift = use_bias, None, 0.5
        self.linear = nn.Linear(width, width)

    def forward(self, x, scale=None, flag=False):
        if self.use_bias:
            x = x + 1
        else:
            x = x - 1
        if self.extra is not None:
            x = x + self.extra
        if (shift := self.shift) is not None:
            x = x - shift
        if scale is not None:
            x = x * scale
        if flag or self.training:
            x = x * 3
        return self.linear(x)


class Unseen(nn.Module):
    """A test that depends on data; the runs took only one side."""

    def forward(self, x):
        if x.shape[1] > 100:
            x = x * 2
        return x + 1


class Sided(nn.Module):
    """A test that depends on data; the runs took both sides."""

    def forward(self, x):
        if x.shape[1] % 2 == 0:
            return x * 2
        return x * 3


class AlwaysNone(nn.Module):
    """A parameter that was None in all runs, although a run may pass it."""

    def forward(self, x, mask):
        if mask is not None:
            x = x * mask
        return x


class Resized(nn.Module):
    """Tests a number that differs between the tiny twin and the real model."""

    def __init__(self, width: int):
        super().__init__()
        self.width, self.scale = width, 1.0

    def forward(self, x):
        if self.width > 64:
            x = x * 2
        half = self.width // 2
        return self._shifted(x, half % 3) / self.scale

    def _shifted(self, x, rest):
        if rest == 1:
            x = x - 1
        return x + 1


class Chosen(nn.Module):
    """A function that the config chooses, called under another name."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        activation = nn.functional.silu if self.kind == "silu" else nn.functional.gelu
        y = activation(x)
        return y + x


@dataclass
class PartOutput(ModelOutput):
    last_hidden_state: torch.Tensor | None = None
    attentions: torch.Tensor | None = None


class Named(nn.Module):
    """A layer that an attribute of the class names; its result is in an output object."""

    _layer = "linear"

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        name = getattr(self, "_layer", "other")
        if (layer := getattr(self, name, None)) is not None:
            x = layer(x)
        return PartOutput(last_hidden_state=x)


class Reader(nn.Module):
    """Reads an output object by index."""

    def __init__(self, width: int):
        super().__init__()
        self.named = Named(width)

    def forward(self, x):
        outputs = self.named(x)
        return outputs[0] * 2


class Wrong(nn.Module):
    """Its parent is replayed with torch's module in its place."""

    def forward(self, x):
        return torch.fft.fft(x).real


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.wrong = Wrong()

    def forward(self, x):
        return self.wrong(x) * 2


class Tables(nn.Module):
    """Has arrays that no checkpoint contains."""

    def __init__(self, width: int, theta: float):
        super().__init__()
        frequencies = 1.0 / theta ** (torch.arange(0, width, 2).float() / width)
        self.register_buffer("inv_freq", frequencies, persistent=False)
        steps = torch.arange(TABLE_LENGTH)
        angles = torch.outer(steps.float() + 1, frequencies)
        self.pairs = torch.polar(torch.ones_like(angles), angles)

    def forward(self, x):
        rotated = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * self.pairs[: x.shape[1]]
        return torch.view_as_real(rotated).flatten(2) + self.inv_freq.sum()


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.to_q, self.to_out = nn.Linear(width, width), nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.1)])

    def forward(self, x):
        def split(states):
            return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query = split(self.to_q(x))
        x = nn.functional.scaled_dot_product_attention(query, query, query, scale=self.scale)
        x = x.transpose(1, 2).flatten(2)
        for layer in self.to_out:
            x = layer(x)
        return x


class Block(nn.Module):
    """A block that can be checkpointed. Not all parts of its result are used, and one of its casts has no effect."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x, angles):
        turned, _, length = self._turned(x.to(torch.float32), angles)
        return x + self.linear(turned.to(x.dtype)) * length

    def _turned(self, x, angles):
        cos, sin = angles
        return x * cos[: x.shape[1], None] + x * sin[: x.shape[1], None], None, 2


class Angles(nn.Module):
    """A table that is the same in every step."""

    def forward(self, positions, hidden_states):
        positions = positions[: hidden_states.size(1)]
        return torch.cos(positions.float()), torch.sin(positions.float())


class Blocks(nn.Module):
    """The forward pass of a small transformer."""

    gradient_checkpointing = False

    def __init__(self, width: int = 8):
        super().__init__()
        self.angles, self.blocks = Angles(), nn.ModuleList([Block(width), Block(width)])
        self.last = nn.Linear(width, width)

    def forward(self, hidden_states, position_ids, *unread):
        angles = self.angles(position_ids + 1, hidden_states)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = torch.utils.checkpoint.checkpoint(block, hidden_states, angles)
            else:
                hidden_states = block(hidden_states, angles)
        return self.last(hidden_states)


class Convolutions(nn.Module):
    """Neighbouring layers over channels, and a single one."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.inner = nn.GroupNorm(2, width), nn.Conv1d(width, width, 3, padding=1)
        self.outer, self.last = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)
        self.activation, self.dropout, self.step = nn.SiLU(), nn.Dropout(0.1), 2

    def forward(self, x):
        x = x.transpose(1, 2)
        if x.shape[2] % self.step == 0:
            y = self.norm(x)
        else:
            y = self.dropout(self.norm(x))
        y = self.activation(y)
        y = self.inner(y)
        y = self.outer(y)
        return self.last(x + y).transpose(1, 2)


class Looked(nn.Module):
    """A layer that is looked up by the name that its class gives."""

    _layer = "linear"

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def get_layer(self):
        name = getattr(self, "_layer", "other")
        if (layer := getattr(self, name, None)) is not None:
            return layer
        return self.children()

    def forward(self, x):
        return self.get_layer()(x)


class Choosy(nn.Module):
    """Needs a video, and a second text with its mask; takes neither whole numbers nor what belongs to an image."""

    def forward(
        self,
        hidden_states,
        encoder_hidden_states,
        timestep,
        encoder_attention_mask=None,
        encoder_hidden_states_2=None,
        encoder_attention_mask_2=None,
        pooled_projections=None,
        image_embeds=None,
        image_rotary_emb=None,
        img_ids=None,
    ):
        batch, channels, frames, height, width = hidden_states.shape
        if pooled_projections is not None or img_ids is not None or image_rotary_emb is not None:
            raise ValueError
        mask = encoder_attention_mask if encoder_attention_mask.is_floating_point() else None
        text = encoder_hidden_states * mask[..., None]
        second = encoder_hidden_states_2.expand(batch, -1, 20)
        second = second * encoder_attention_mask_2[..., None]
        return hidden_states * text.mean() + second.mean()


class Model(nn.Module):
    def __init__(self, width: int = 8, heads: int = 2, theta: float = 100.0):
        super().__init__()
        self.folded, self.unseen, self.sided = Folded(width, True), Unseen(), Sided()
        self.always_none, self.resized, self.parent = AlwaysNone(), Resized(width), Parent()
        self.tables, self.attention = Tables(width, theta), Attention(width, heads)
        self.chosen, self.reader = Chosen("silu"), Reader(width)
        self.convolutions, self.looked = Convolutions(width), Looked(width)
        self.unused = nn.Linear(width, width)

    def forward(self, x, mask=None, return_dict=True):
        x = self.looked(self.convolutions(self.chosen(self.folded(x))))
        x = self.reader(self.sided(self.unseen(x)))
        x = self.resized(self.always_none(x, mask))
        x = self.attention(self.tables(self.parent(x)))
        if not return_dict:
            return (x,)
        return {"sample": x}
