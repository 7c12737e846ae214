"""The inputs of recorded runs: arrays by the names that references give their parameters.

Each name has candidates, the usual one first; ``find_runs`` takes the first combination that the twin accepts. Runs
differ in height, width, length of text and batch, with real padding in batches; height and width differ.
"""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mflux_port.draft.forward.twin.small_config import SAMPLE

_TEXT_WIDTHS = (
    "joint_attention_dim", "cross_attention_dim", "text_embed_dim", "cap_feat_dim", "caption_channels", "text_in_dim",
    "text_hidden_dim", "context_in_dim", "context_dim", "text_dim", "llm_features_dim", "in_text_dim", "condition_dim",
    "encoder_hidden_size", "caption_dim", "text_embedding_dim", "caption_projection_dim",
)  # fmt: skip
_CHANNELS = ("in_channels", "in_visual_dim", "in_dim", "num_channels")
_POOLED = ("pooled_projection_dim", "pooled_dim", "text_emb_dim", "in_text_dim2", "clip_dim", "pooled_embed_dim")
_HEADS = ("num_attention_heads", "num_heads", "n_heads")
_TRIES = 480
_SCALES = (8, 16, 32)  # of a VAE: the pixels along one latent
# Keywords that select how a reference returns its results: a port has one way.
FIXED = {"return_dict", "use_cache", "output_hidden_states", "output_attentions", "return_overlap"}


@dataclass(frozen=True)
class Case:
    """One run: latent sizes, tokens and batch. ``seed`` of its random numbers."""

    height: int
    width: int
    text: int
    batch: int
    seed: int


CASES = (Case(8, 12, 7, 1, 1), Case(12, 4, 11, 1, 2), Case(4, 8, 5, 3, 3), Case(8, 16, 31, 2, 4))


class _Maker:
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


def _image(make: _Maker) -> list[Callable]:
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


def _text(make: _Maker) -> list[Callable]:
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


def _masks(make: _Maker) -> list[Callable]:
    return [lambda: make.mask("bool"), lambda: make.mask("long"), lambda: make.mask("float"), lambda: ...]


def _whole_masks(make: _Maker) -> list[Callable]:
    case, torch = make.case, make.torch
    ones = lambda: torch.ones(case.batch, case.height * case.width, dtype=torch.bool)  # noqa: E731
    whole = lambda: torch.cat([make.mask("bool"), ones()], dim=1)  # noqa: E731
    return [lambda: make.mask("bool"), whole, lambda: make.mask("long"), lambda: ...]


def _times(make: _Maker) -> list[Callable]:
    times = make.torch.tensor([0.37, 0.83, 0.11][: make.case.batch])
    return [lambda: times, lambda: (1000 * times).long()]


def _rotary(make: _Maker) -> list[Callable]:
    """Rotary tables that the pipeline makes: absent, cosines and sines, or complex numbers."""
    torch, case = make.torch, make.case
    width = make.size(("attention_head_dim", "head_dim")) or make.size(("hidden_size",)) // max(1, make.size(_HEADS, 1))
    tokens, half = case.height * case.width, max(1, width // 2)
    patches = tokens // make.size(("patch_size",), 1) ** 2
    angles = lambda count: make.randn(count, half)  # noqa: E731
    pair = lambda count: tuple(part(angles(count)).repeat_interleave(2, -1) for part in (torch.cos, torch.sin))  # noqa: E731
    turned = lambda: torch.polar(torch.ones(384, 384, half), make.randn(384, 384, half))  # noqa: E731
    return [lambda: ..., lambda: pair(patches), lambda: pair(tokens), turned, lambda: _axis_tables(make, width)]


def _axis_tables(make: _Maker, width: int):
    """A table of cosines and sines for each axis of a video, and the place of every patch in each of them."""
    torch, patch = make.torch, make.size(("patch_size",), 1)
    sides = (1, make.case.height // patch, make.case.width // patch)
    tables = tuple((torch.cos(one), torch.sin(one)) for one in (make.randn(side, width // 3) for side in sides))
    places = torch.meshgrid(*map(torch.arange, sides), indexing="ij")
    return tables, tuple(place.reshape(1, -1).repeat(make.case.batch, 1) for place in places)


def _number(value: Callable[[Case], int]) -> Callable[[_Maker], list[Callable]]:
    return lambda make: [lambda: value(make.case)]


def _shapes(make: _Maker) -> list[Callable]:
    case = make.case
    return [lambda: [[(1, case.height, case.width)]] * case.batch, lambda: [(1, case.height, case.width)] * case.batch]


def _second(candidates: Callable[[_Maker], list[Callable]]) -> Callable[[_Maker], list[Callable]]:
    """The input of a second text encoder, with a length of its own, if the config has ``text_embed_2_dim``, its width."""

    def made(make: _Maker) -> list[Callable]:
        widths = {key.replace("_2", ""): value for key, value in make.config.items() if "_2" in key}
        case = replace(make.case, text=make.case.text + 4, seed=make.case.seed + 100)
        given = [one for one in candidates(_Maker(make.config | widths, case)) if one() is not ...]
        return [*given, lambda: ...] if widths else [lambda: ...]

    return made


def _image_embeds(make: _Maker) -> list[Callable]:
    """Vectors of an input image; zeros, which stand for none, in a batch of one."""
    case = make.case
    return [lambda: ..., lambda: make.randn(case.batch, 5, make.size(("image_embed_dim",), 16)) * (case.batch > 1)]


def _lengths(make: _Maker) -> list[Callable]:
    lengths = make.mask("long").sum(1)
    return [lambda: lengths, lambda: lengths.tolist(), lambda: ...]


def _sizes(make: _Maker) -> list[Callable]:
    return [lambda: make.torch.tensor([[64.0, 96.0]] * make.case.batch), lambda: ...]


def _ids(which: str) -> Callable[[_Maker], list[Callable]]:
    def candidates(make: _Maker) -> list[Callable]:
        made = {
            "image": make.grid,
            "text": make.text_ids,
            "both": lambda: make.torch.cat([make.text_ids(), make.grid()]),
        }
        one = made[which]
        return [one, lambda: one()[None].repeat(make.case.batch, 1, 1), lambda: ...]

    return candidates


_GIVEN: dict[str, Callable[[_Maker], list[Callable]]] = {
    **dict.fromkeys(("hidden_states", "x", "sample", "latents", "latent_model_input"), _image),
    **dict.fromkeys(("encoder_hidden_states", "cap_feats", "text_bth", "context", "txt",
                     "prompt_embeds", "text_states", "llm_features"), _text),
    "encoder_hidden_states_t5": lambda make: [*_text(make), lambda: ...],  # a second text encoder's, which some lack
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


def find_runs(
    model, config: dict, cases: Sequence[Case] = CASES, tables: dict[str, dict] | None = None
) -> list[tuple[str, dict]]:
    """Runs of a transformer's ``forward`` that it accepts; empty when no combination of candidates is.

    ``tables``: settings that its pipeline passes in every run, by parameter.
    """
    runs = _found_runs(model, config, cases, tables or {})
    return runs or (_found_runs(model, config, cases, {}) if tables else [])


def _found_runs(model, config: dict, cases: Sequence[Case], tables: dict[str, dict]) -> list[tuple[str, dict]]:
    parameters = _forward_parameters(model)
    names = [name for name in parameters if name in _GIVEN and name not in tables]

    def inputs(chosen: Sequence[int], case: Case) -> dict:
        return _given(config, case, names, chosen, parameters) | tables

    def refused(chosen: Sequence[int]) -> tuple[int, ...] | None:
        return _refusal(model, inputs(chosen, cases[0]))

    found = [_candidates(name, parameters[name], _Maker(config, cases[0])) for name in names]
    chosen = _usual(found, refused) or _nearest(found, refused)
    if chosen is None:
        return []
    made = (inputs(chosen, case) for case in (*cases, *_of_sample_size(config)))
    runs = [("forward", one) for one in made if _accepts(model, one)]
    return runs + _without_optional(model, runs)


def _of_sample_size(config: dict) -> tuple[Case, ...]:
    """Runs at the size of a model's table of positions: on one side, then on both."""
    size = config.get("sample_size")
    return (Case(size, 4, 7, 1, 5), Case(size, size, 7, 1, 6)) if type(size) is int and size <= SAMPLE else ()


def _usual(found: list[list[Callable]], refused: Callable) -> tuple[int, ...] | None:
    """The places of candidates that are accepted together, the usual ones first."""
    tried = itertools.islice(_by_sum([len(candidates) for candidates in found]), _TRIES)
    return next((chosen for chosen in tried if refused(chosen) is None), None)


def _nearest(found: list[list[Callable]], refused: Callable) -> tuple[int, ...] | None:
    """The same, beginning with as few inputs as possible: each step changes the one that lets the model get furthest.

    Then each further input that is accepted is added.
    """
    absent = [next((place for place, one in enumerate(candidates) if one() is ...), 0) for candidates in found]
    chosen, reached = tuple(absent), refused(tuple(absent))
    while reached is not None:
        steps = {other: refused(other) for number in range(len(found)) for other in _others(chosen, found, number)}
        better = [other for other, line in steps.items() if line is None or line > reached]
        if not better:
            return None
        chosen = max(better, key=lambda one: (steps[one] is None, steps[one] or ()))
        reached = steps[chosen]
    for number, none in enumerate(absent):
        if chosen[number] == none:
            more = (other for other in _others(chosen, found, number) if refused(other) is None)
            chosen = next(more, chosen)
    return chosen


def _others(chosen: tuple[int, ...], found: list[list[Callable]], number: int) -> list[tuple[int, ...]]:
    places = (place for place in range(len(found[number])) if place != chosen[number])
    return [chosen[:number] + (place,) + chosen[number + 1 :] for place in places]


def _without_optional(model, runs: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """A run without the optional inputs: pipelines leave them out for some models."""
    parameters = _forward_parameters(model)
    whole = inputs = runs[min(1, len(runs) - 1)][1]
    for name in whole:
        fewer = {key: value for key, value in inputs.items() if key != name}
        if (
            name not in FIXED
            and parameters[name].default is None
            and whole[name] is not None
            and _accepts(model, fewer)
        ):
            inputs = fewer
    return [("forward", inputs)] if len(inputs) < len(whole) else []


def unknown_inputs(model) -> list[str]:
    """The parameters that a transformer's ``forward`` needs and for which no input is known."""
    parameters = _forward_parameters(model).values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [one for one in parameters if one.default is inspect.Parameter.empty and one.kind in plain]
    return [one.name for one in needed if one.name not in _GIVEN]


def text_runs(model, config: dict, cases: Sequence[Case] = CASES[:3]) -> list[tuple[str, dict]]:
    """Runs of a text encoder: two lengths of prompt, a batch with padding."""
    import torch

    section = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    vocabulary, runs, parameters = section.get("vocab_size", 64), [], _forward_parameters(model)
    for case in cases:
        make = _Maker(config, case)
        ids = torch.randint(9, vocabulary, (case.batch, case.text), generator=make.generator)
        inputs = {"input_ids": ids, "attention_mask": make.mask("long"), "use_cache": False}
        runs.append(("forward", {name: value for name, value in inputs.items() if name in parameters}))
    accepted = [run for run in runs if _accepts(model, run[1])]
    return accepted + (_without_optional(model, accepted) if accepted else [])


def vae_runs(model, config: dict, cases: Sequence[Case] = CASES[:3]) -> list[tuple[str, dict]]:
    """Runs of ``decode`` and ``encode`` of a VAE, of images or of videos of one frame."""
    channels = next((config[name] for name in ("latent_channels", "z_dim") if name in config), 4)
    for frames in ((), (1,)):
        decode = [("decode", {"z": _vae_input(case, channels, 1, frames)}) for case in cases]
        accepted = [run for run in decode if _accepts(model, run[1], run[0])]
        for scale in _SCALES:  # a VAE refuses an image that it cannot divide
            encode = [
                ("encode", {"x": _vae_input(case, config.get("in_channels", 3), scale, frames)}) for case in cases[1:]
            ]
            encoded = [run for run in encode if _accepts(model, run[1], run[0])]
            if encoded:
                accepted += _with_odd_sides(model, encoded)
                break
        if accepted:
            return accepted
    return []


def _with_odd_sides(model, runs: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """The first image with one row and one column fewer, if the model takes it: padding shows only with odd sides."""
    (method, inputs), *others = runs
    odd = {"x": inputs["x"][..., 1:, 1:]}
    return [(method, odd), *others] if _accepts(model, odd, method) else runs


def _vae_input(case: Case, channels: int, scale: int, frames: tuple):
    import torch

    generator = torch.Generator().manual_seed(case.seed)
    shape = (case.batch, channels, *frames, case.height // 2 * scale, case.width // 2 * scale)
    return torch.randn(shape, generator=generator)


def _forward_parameters(model) -> dict[str, inspect.Parameter]:
    from mflux_port.draft.forward.record.sources import undecorated

    return dict(list(inspect.signature(undecorated(type(model).forward)).parameters.items())[1:])


def _candidates(name: str, parameter: inspect.Parameter, make: _Maker) -> list[Callable]:
    """The candidates of a parameter: lists of arrays first if its annotation says so."""
    found = _GIVEN[name](make)
    if parameter.default is inspect.Parameter.empty:
        found = [one for one in found if one() is not ...]
    if str(parameter.annotation).lower().startswith("list["):
        found = sorted(found, key=lambda one: not isinstance(one(), list))
    return found


def _by_sum(counts: list[int]):
    # Combinations of candidates, starting with the first candidate of each.
    total = sum(count - 1 for count in counts)
    for wanted in range(total + 1):
        yield from (one for one in itertools.product(*map(range, counts)) if sum(one) == wanted)


def _given(config: dict, case: Case, names: list[str], chosen: tuple[int, ...], parameters: dict) -> dict:
    make = _Maker(config, case)
    pairs = zip(names, chosen, strict=True)
    values = {name: _candidates(name, parameters[name], make)[place]() for name, place in pairs}
    return {name: value for name, value in values.items() if value is not ...}


def _accepts(model, inputs: dict, method: str = "forward") -> bool:
    return _refusal(model, inputs, method) is None


def _refusal(model, inputs: dict, method: str = "forward") -> tuple[int, ...] | None:
    """The lines at which a model refuses inputs, from the outermost function on; None if it takes them."""
    import torch

    from mflux_port.draft.forward.record.recorder import clone

    try:
        with torch.no_grad():
            getattr(model, method)(**clone(inputs))
    except Exception as error:  # noqa: BLE001 - a combination that the reference refuses does not count
        frames = traceback.extract_tb(error.__traceback__)
        return tuple(frame.lineno for frame in frames if "/torch/" not in frame.filename)
    return None
