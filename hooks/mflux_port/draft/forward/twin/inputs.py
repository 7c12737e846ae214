"""The candidates for the inputs of recorded runs: arrays by the names that references give their parameters.

Each name has candidates, the usual one first; ``twin/runs.py`` finds the combination that the twin accepts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

_TEXT_WIDTHS = (
    "joint_attention_dim", "cross_attention_dim", "text_embed_dim", "cap_feat_dim", "caption_channels", "text_in_dim",
    "text_hidden_dim", "context_in_dim", "context_dim", "text_dim", "llm_features_dim", "in_text_dim", "condition_dim",
    "encoder_hidden_size", "caption_dim", "text_embedding_dim", "caption_projection_dim",
)  # fmt: skip
_CHANNELS = ("in_channels", "in_visual_dim", "in_dim", "num_channels")
_POOLED = ("pooled_projection_dim", "pooled_dim", "text_emb_dim", "in_text_dim2", "clip_dim", "pooled_embed_dim")
_HEADS = ("num_attention_heads", "num_heads", "n_heads")


@dataclass(frozen=True)
class Case:
    """One run: latent sizes, tokens and batch. ``seed`` of its random numbers."""

    height: int
    width: int
    text: int
    batch: int
    seed: int


class Maker:
    """Makes the arrays of one case for one model."""

    def __init__(self, config: dict, case: Case):
        import torch

        self.config, self.case, self.torch = config, case, torch
        self.generator = torch.Generator().manual_seed(case.seed)

    def randn(self, *shape: int):
        return self.torch.randn(*shape, generator=self.generator)

    def size(self, names: tuple[str, ...], default: int = 0) -> int:
        found = (self.config[name] for name in names if name in self.config)
        for value in found:
            value = value[0] if isinstance(value, (list, tuple)) and value else value
            if isinstance(value, int):
                return value
        return default

    @property
    def axes(self) -> int:
        found = [value for name, value in self.config.items() if "axes" in name and isinstance(value, (list, tuple))]
        return len(found[0]) if found else 3

    @property
    def sample(self) -> int:
        """The only image size that a model with learned positions takes."""
        return self.size(("sample_size",), 8)

    @property
    def patch(self) -> tuple[int, ...]:
        """Frames, height and width of a patch of a video."""
        size = self.config.get("patch_size", 1)
        return tuple(size) if isinstance(size, (list, tuple)) else (1, size, size)

    @property
    def layers(self) -> int:
        return self.size(("num_text_layers", "text_num_layers"), 3)

    def mask(self, kind: str):
        """The mask of text tokens: the later texts of a batch are shorter and end with padding,
        more in longer texts.
        """
        case = self.case
        mask = self.torch.ones(case.batch, case.text)
        for place in range(1, case.batch):
            mask[place, case.text - place - case.text // 5 :] = 0
        return {"bool": mask.bool(), "long": mask.long(), "float": mask}[kind]

    def grid(self):
        rows, columns = self.torch.arange(self.case.height), self.torch.arange(self.case.width)
        ids = self.torch.zeros(self.case.height, self.case.width, self.axes)
        ids[..., 0] += self.case.seed  # the number of the image; zero would hide the axis
        ids[..., min(1, self.axes - 1)] += rows[:, None]
        ids[..., min(2, self.axes - 1)] += columns[None]
        return ids.reshape(-1, self.axes)

    def text_ids(self):
        """Positions of text along the last axis, which not all pipelines give: zeros would hide how they are used."""
        ids = self.torch.zeros(self.case.text, self.axes)
        ids[:, -1] = self.torch.arange(self.case.text)
        return ids


def _image(make: Maker) -> list[Callable]:
    case, channels = make.case, make.size(_CHANNELS, 4)
    tokens = lambda: make.randn(case.batch, case.height * case.width, channels)  # noqa: E731
    return [
        tokens,
        lambda: make.randn(case.batch, channels, case.height, case.width),
        lambda: make.randn(case.batch, channels, 1, case.height, case.width),
        lambda: [make.randn(channels, 1, case.height, case.width) for _ in range(case.batch)],
        lambda: make.randn(case.batch, 1, case.height, case.width, channels),
        lambda: make.randn(case.batch, 1, channels, case.height, case.width),
        lambda: make.randn(case.batch, channels, make.sample, make.sample),
        lambda: make.randn(case.batch, case.height * case.width, channels, *make.patch),
    ]


def _text(make: Maker) -> list[Callable]:
    case = make.case
    # A config may give the width of the text and that of its projection.
    widths = [*dict.fromkeys(make.size((name,)) for name in _TEXT_WIDTHS if make.size((name,)))] or [32]
    rows = [lambda width=width: make.randn(case.batch, case.text, width) for width in widths]
    lists = [
        lambda width=width: [make.randn(case.text + 3 * place, width) for place in range(case.batch)]
        for width in widths
    ]
    return [
        *rows,
        *lists,
        *(lambda width=width: make.randn(case.batch, case.text, make.layers, width) for width in widths),
    ]


def _layers_of_text(make: Maker) -> list[Callable]:
    """The vectors of every layer of a text encoder, of which the config names those that are read."""
    named = [value for key, value in make.config.items() if key.endswith("_layers") and isinstance(value, list)]
    count = max((max(value) + 1 for value in named if value), default=make.layers)
    width = make.size(_TEXT_WIDTHS, 32)
    return [lambda: make.randn(count, make.case.batch, make.case.text, width), lambda: ...]


def _masks(make: Maker) -> list[Callable]:
    return [lambda: make.mask("bool"), lambda: make.mask("long"), lambda: make.mask("float"), lambda: ...]


def _whole_masks(make: Maker) -> list[Callable]:
    case, torch = make.case, make.torch
    ones = lambda: torch.ones(case.batch, case.height * case.width, dtype=torch.bool)  # noqa: E731
    whole = lambda: torch.cat([make.mask("bool"), ones()], dim=1)  # noqa: E731
    return [lambda: make.mask("bool"), whole, lambda: make.mask("long"), lambda: ...]


def _times(make: Maker) -> list[Callable]:
    times = make.torch.tensor([0.37, 0.83, 0.11][: make.case.batch])
    return [lambda: times, lambda: (1000 * times).long()]


def _rotary(make: Maker) -> list[Callable]:
    """Rotary tables that the pipeline makes: absent, cosines and sines, or complex numbers."""
    torch, case = make.torch, make.case
    width = make.size(("attention_head_dim", "head_dim")) or make.size(("hidden_size",)) // max(1, make.size(_HEADS, 1))
    tokens, half = case.height * case.width, max(1, width // 2)
    patches = tokens // make.size(("patch_size",), 1) ** 2
    angles = lambda count: make.randn(count, half)  # noqa: E731
    pair = lambda count: tuple(part(angles(count)).repeat_interleave(2, -1) for part in (torch.cos, torch.sin))  # noqa: E731
    turned = lambda: torch.polar(torch.ones(384, 384, half), make.randn(384, 384, half))  # noqa: E731
    return [lambda: ..., lambda: pair(patches), lambda: pair(tokens), turned, lambda: _axis_tables(make, width)]


def _axis_tables(make: Maker, width: int):
    """A table of cosines and sines for each axis of a video, and the place of every patch in each of them."""
    torch, patch = make.torch, make.size(("patch_size",), 1)
    sides = (1, make.case.height // patch, make.case.width // patch)
    tables = tuple((torch.cos(one), torch.sin(one)) for one in (make.randn(side, width // 3) for side in sides))
    places = torch.meshgrid(*map(torch.arange, sides), indexing="ij")
    return tables, tuple(place.reshape(1, -1).repeat(make.case.batch, 1) for place in places)


def _number(value: Callable[[Case], int]) -> Callable[[Maker], list[Callable]]:
    return lambda make: [lambda: value(make.case)]


def _shapes(make: Maker) -> list[Callable]:
    case = make.case
    return [lambda: [[(1, case.height, case.width)]] * case.batch, lambda: [(1, case.height, case.width)] * case.batch]


def _second(candidates: Callable[[Maker], list[Callable]]) -> Callable[[Maker], list[Callable]]:
    """The input of a second text encoder, with a length of its own, if the config has
    ``text_embed_2_dim``, its width.
    """

    def made(make: Maker) -> list[Callable]:
        widths = {key.replace("_2", ""): value for key, value in make.config.items() if "_2" in key}
        case = replace(make.case, text=make.case.text + 4, seed=make.case.seed + 100)
        given = [one for one in candidates(Maker(make.config | widths, case)) if one() is not ...]
        return [*given, lambda: ...] if widths else [lambda: ...]

    return made


def _image_embeds(make: Maker) -> list[Callable]:
    """Vectors of an input image; zeros, which stand for none, in a batch of one."""
    case = make.case
    return [lambda: ..., lambda: make.randn(case.batch, 5, make.size(("image_embed_dim",), 16)) * (case.batch > 1)]


def _lengths(make: Maker) -> list[Callable]:
    lengths = make.mask("long").sum(1)
    return [lambda: lengths, lambda: lengths.tolist(), lambda: ...]


def _sizes(make: Maker) -> list[Callable]:
    return [lambda: make.torch.tensor([[64.0, 96.0]] * make.case.batch), lambda: ...]


def _ids(which: str) -> Callable[[Maker], list[Callable]]:
    def candidates(make: Maker) -> list[Callable]:
        made = {
            "image": make.grid,
            "text": make.text_ids,
            "both": lambda: make.torch.cat([make.text_ids(), make.grid()]),
        }
        one = made[which]
        return [one, lambda: one()[None].repeat(make.case.batch, 1, 1), lambda: ...]

    return candidates


CANDIDATES: dict[str, Callable[[Maker], list[Callable]]] = {
    **dict.fromkeys(("hidden_states", "x", "sample", "latents", "latent_model_input"), _image),
    **dict.fromkeys(("encoder_hidden_states", "cap_feats", "text_bth", "context", "txt",
                     "prompt_embeds", "text_states", "llm_features"), _text),
    "encoder_hidden_states_t5": lambda make: [*_text(make), lambda: ...],  # a second text encoder's, which some lack
    "encoder_hidden_states_llama3": _layers_of_text,
    **dict.fromkeys(("timestep", "timesteps", "t"), _times),
    **dict.fromkeys(("encoder_attention_mask", "encoder_hidden_states_mask", "text_embedding_mask", "prompt_mask",
                     "encoder_mask", "text_mask"), _masks),
    "attention_mask": _whole_masks,
    "encoder_hidden_states_2": _second(_text), "encoder_attention_mask_2": _second(_masks), "image_embeds": _image_embeds,
    **dict.fromkeys(("pooled_projections", "pooled_embeds", "pooled_prompt_embeds"),
                    lambda make: [lambda: make.randn(make.case.batch, make.size(_POOLED, 16)), lambda: ...]),
    "guidance": lambda make: [lambda: make.torch.tensor([3.5, 2.0, 1.0][: make.case.batch]), lambda: ...],
    "img_ids": _ids("image"), "txt_ids": _ids("text"), "position_ids": _ids("both"), "img_shapes": _shapes, "shape_list": _shapes,
    **dict.fromkeys(("txt_seq_lens", "text_lens"), _lengths),
    **dict.fromkeys(("original_size", "target_size", "crop_coords"), _sizes),
    "added_cond_kwargs": lambda make: [lambda: {"resolution": None, "aspect_ratio": None}],
    "image_rotary_emb": _rotary,
    **dict.fromkeys(("cross_attention_kwargs", "attention_kwargs", "joint_attention_kwargs"),
                    lambda make: [lambda: ..., lambda: {}]),
    "class_labels": lambda make: [lambda: make.torch.arange(3, 3 + make.case.batch), lambda: ...],
    "num_frames": _number(lambda case: 1), "height": _number(lambda case: case.height),
    "width": _number(lambda case: case.width),
    "return_dict": lambda make: [lambda: False],
}  # fmt: skip


def candidates(name: str, parameter: inspect.Parameter, make: Maker) -> list[Callable]:
    """The candidates of a parameter: lists of arrays first if its annotation says so."""
    found = CANDIDATES[name](make)
    if parameter.default is inspect.Parameter.empty:
        found = [one for one in found if one() is not ...]
    if str(parameter.annotation).lower().startswith("list["):
        found = sorted(found, key=lambda one: not isinstance(one(), list))
    return found
