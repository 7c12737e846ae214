"""The recorded runs of a twin: inputs that it accepts.

Runs differ in height, width, length of text and batch, with real padding in batches; height and width differ.
"""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable, Sequence

from mflux_port.draft.forward.twin.inputs import CANDIDATES, Case, Maker, candidates
from mflux_port.draft.forward.twin.small_config import SAMPLE

_TRIES = 480
_SCALES = (8, 16, 32)  # of a VAE: the pixels along one latent
# Keywords that select how a reference returns its results: a port has one way.
FIXED = {"return_dict", "use_cache", "output_hidden_states", "output_attentions", "return_overlap"}
CASES = (Case(8, 12, 7, 1, 1), Case(12, 4, 11, 1, 2), Case(4, 8, 5, 3, 3), Case(8, 16, 31, 2, 4))


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
    names = [name for name in parameters if name in CANDIDATES and name not in tables]

    def inputs(chosen: Sequence[int], case: Case) -> dict:
        return _given(config, case, names, chosen, parameters) | tables

    def refused(chosen: Sequence[int]) -> tuple[int, ...] | None:
        return _refusal(model, inputs(chosen, cases[0]))

    found = [candidates(name, parameters[name], Maker(config, cases[0])) for name in names]
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
    tried = itertools.islice(_by_sum(list(map(len, found))), _TRIES)
    return next((chosen for chosen in tried if refused(chosen) is None), None)


def _nearest(found: list[list[Callable]], refused: Callable) -> tuple[int, ...] | None:
    """The same, beginning with as few inputs as possible: each step changes the one that lets the model get furthest.

    Then each further input that is accepted is added.
    """
    absent = [next((place for place, one in enumerate(options) if one() is ...), 0) for options in found]
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
    return [one.name for one in needed if one.name not in CANDIDATES]


def text_runs(model, config: dict, cases: Sequence[Case] = CASES[:3]) -> list[tuple[str, dict]]:
    """Runs of a text encoder: two lengths of prompt, a batch with padding."""
    import torch

    section = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    vocabulary, runs, parameters = section.get("vocab_size", 64), [], _forward_parameters(model)
    for case in cases:
        make = Maker(config, case)
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


def _by_sum(counts: list[int]):
    # Combinations of candidates, starting with the first candidate of each.
    total = sum(count - 1 for count in counts)
    for wanted in range(total + 1):
        yield from (one for one in itertools.product(*map(range, counts)) if sum(one) == wanted)


def _given(config: dict, case: Case, names: list[str], chosen: tuple[int, ...], parameters: dict) -> dict:
    make = Maker(config, case)
    pairs = zip(names, chosen, strict=True)
    values = {name: candidates(name, parameters[name], make)[place]() for name, place in pairs}
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
