"""All facts of a pipeline, from runs of its tiny twin."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path

from mflux_port.draft.pipeline import (
    arguments,
    defaults,
    drawn_sizes,
    edit_images,
    encoding,
    latent_packing,
    loop,
    negative,
    of_config,
    prompts,
)
from mflux_port.draft.pipeline.encoder_memo import encoders_run_once
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.quoted_words import REFUSALS, idle_encoders, quoted_words
from mflux_port.draft.pipeline.watch import Intervention, Trace, run

PROMPT, NEGATIVE = "a red fox in deep snow", "blurry"
LONGER = f"{PROMPT}, seen from far away in the first light of May"  # 68 characters: not a multiple of 8, 16 or 32
WITH_WORDS = f'{PROMPT} and the word "OPEN"', f'{LONGER} and the words "OPEN ALL DAY"'
GUIDANCE = ("true_cfg_scale", "guidance_scale", "distilled_guidance_scale")
QUOTED = 'a shop sign that says "OPEN"'  # some pipelines encode quoted words with a separate encoder
_STEPS = 5
_GUIDER_STEPS = 8  # a guider may change its formula after a few steps
_SCALES = 3.0, 5.0


def read_facts(pipe, edits: bool = False) -> list[Fact]:
    """The facts of ``pipe``, a loaded pipeline of diffusers in float32 on the CPU. Takes about fifteen runs.

    ``edits``: also what it does with images to edit, if it takes some and can run without one.
    """
    with encoders_run_once(pipe):
        facts = _facts(pipe)
        return facts + (_of_images(pipe, facts) if edits else [])


def _of_images(pipe, facts: list[Fact]) -> list[Fact]:
    if not edit_images.takes_images(pipe):
        return edit_images.without_images(pipe)
    unit = _unit(pipe)
    call, known = _call(pipe, 4 * unit, 6 * unit), {fact.name: fact for fact in facts}
    small = call | edit_images.not_resized(pipe)
    found = edit_images.layout(pipe, small, known)
    if found.value and not edit_images.guided_alike(pipe, small, defaults.guidance_keyword(pipe), _SCALES, known):
        why = "the transformer's first rows, guided as without images, are not what the scheduler is given"
        found = Fact(found.name, None, f"{found.where}: {why}")
    return [edit_images.input_image(pipe, call), found]


def _facts(pipe) -> list[Fact]:
    unit = _unit(pipe)
    plain = _call(pipe, 2 * unit, 3 * unit)
    trace = run(pipe, plain)
    idle = idle_encoders(pipe, [trace])
    words = [fact for encoder in idle if (fact := quoted_words(pipe, plain, encoder))]
    prompt, more = (PROMPT, LONGER)
    if words and all(fact.value for fact in words):
        prompt, more = WITH_WORDS
        plain |= {"prompt": prompt}
        trace = run(pipe, plain)
    sizes = [(3 * unit, 5 * unit), (4 * unit, 3 * unit)]
    calls = [_call(pipe, *size) | {"prompt": prompt} for size in sizes]
    larger = [run(pipe, call) for call in calls]
    facts = [
        defaults.defaults(pipe),
        *prompts.tokenization(trace, prompt),
        *words,
        *prompts.prompt_embeddings(trace),
        latent_packing.packing(pipe, plain),
        loop.timestep(trace),
        loop.schedule([trace, *larger], dict(pipe.scheduler.config)),
        *_guidance(pipe, plain, trace),
        latent_packing.decoding(pipe, plain),
        drawn_sizes.drawn_sizes(pipe, plain, trace),
    ]
    known = {fact.name: fact for fact in facts if fact}
    longer = run(pipe, plain | {"prompt": more})
    quoted = run(pipe, plain | {"prompt": QUOTED}, Intervention(stop_at_transformer=True), ends=REFUSALS)
    for other, given in ((longer, more), (quoted, QUOTED)):
        known |= {fact.name: fact for fact in prompts.changed_texts(other, given, known)}
    runs = [(trace, plain), (longer, plain), *zip(larger, calls, strict=True)]
    known |= {
        fact.name: fact for fact in (*_call_of_transformer(pipe, runs, known), *_negative(pipe, plain, trace, known))
    }
    idle = idle_encoders(pipe, [trace, longer])
    return [*known.values(), *(prompts.of_idle_encoders(quoted, idle, QUOTED) if quoted.transformers else [])]


def _call_of_transformer(pipe, runs: list[tuple[Trace, dict]], known: dict[str, Fact]) -> list[Fact]:
    """How a prompt is encoded, and every argument of the transformer; nothing when the prompt's vectors are unknown."""
    found = [encoding.find_prompts(trace, known) for trace, _ in runs]
    if not all(found) or len({tuple((own.argument, own.encoder) for own in prompts) for prompts in found}) > 1:
        return []
    views = [
        arguments.view(trace, (call["height"], call["width"]), prompts)
        for (trace, call), prompts in zip(runs, found, strict=True)
    ]
    explained = {own.argument: {"is": "prompt"} for own in found[0]}
    for name, kind in (("packing", "latents"), ("timestep", "time"), ("guidance_argument", "guidance")):
        if known.get(name) and known[name].value:
            value = known[name].value
            times = {"factor": 1000} if value.get("is") == "1000 * guidance" else {}
            explained[value["argument"]] = {"is": kind} | times
    return [
        *encoding.encodings(found[0], found[1], known),
        arguments.arguments(views, explained, _transformer(pipe, runs, known)),
    ]


def _transformer(pipe, runs: list[tuple[Trace, dict]], known: dict[str, Fact]) -> arguments.Transformer:
    part = pipe.transformer
    numbers = {name: value for name, value in {**part.config, **vars(part)}.items() if type(value) is int}
    views, calls = [], [runs[0][1], runs[-1][1]]
    with of_config.doubled(pipe) as other:
        for call in calls if other else ():
            trace = run(other, call, Intervention(stop_at_transformer=True), ends=(Exception,))
            prompts = encoding.find_prompts(trace, known) if trace.transformers else []
            views += [arguments.view(trace, (call["height"], call["width"]), prompts)] if prompts else []
    return arguments.Transformer(numbers, views if len(views) == len(calls) else [], numbers.get(of_config.NAME, 0))


def _negative(pipe, plain: dict, trace: Trace, known: dict[str, Fact]) -> list[Fact]:
    guided = known.get("guidance")
    if not guided or not guided.value or "conditional" not in guided.value:
        return []
    short = plain | {"num_inference_steps": 1}
    weak = [_run_guided(pipe, short, scale) for scale in (1.0, 0.5)]
    # Some tokenizers give no token for an empty text, which an encoder may refuse; the encoding is known by then.
    kept = {name: value for name, value in short.items() if name != "negative_prompt"}
    without = run(pipe, kept, ends=REFUSALS)
    return [
        negative.negative(weak, without, plain["prompt"], known, negative.is_framed(trace, NEGATIVE, known)),
        *encoding.of_empty_text(without, pipe.components),
    ]


def _guidance(pipe, plain: dict, trace: Trace) -> list[Fact | None]:
    # A distilled model takes its guidance as an argument, besides classifier-free guidance: change one at a time.
    facts, other = [], None
    for name in (name for name in GUIDANCE if name in plain):
        changed = run(pipe, plain | {name: _SCALES[1]})
        facts.append(loop.guidance_argument(trace, changed, _SCALES))
        if name == defaults.guidance_keyword(pipe):
            other = changed
    runs = (trace, other) if other else tuple(_run_guided(pipe, plain, scale) for scale in _SCALES)
    return [*facts, loop.guidance(runs, _SCALES)]


def _run_guided(pipe, call: dict, scale: float) -> Trace:
    """A run with that scale of classifier-free guidance, set where the pipeline reads it."""
    keyword = defaults.guidance_keyword(pipe)
    with _guider_at(pipe, scale):
        return run(pipe, call | ({keyword: scale} if keyword else {}))


@contextlib.contextmanager
def _guider_at(pipe, scale: float):
    guider = getattr(pipe, "guider", None)
    before = getattr(guider, "guidance_scale", None)
    if before is not None:
        guider.guidance_scale = scale
    try:
        yield
    finally:
        if before is not None:
            guider.guidance_scale = before


def load_twin(folder: Path):
    """The pipeline in ``folder`` in float32. Raises what diffusers raises."""
    import diffusers
    import torch

    diffusers.utils.logging.set_verbosity_error()
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _unit(pipe) -> int:
    """The smallest side that the VAE and a patch of 2 take."""
    scale = getattr(pipe, "vae_scale_factor", 8)
    return 2 * int(scale)


def _call(pipe, width: int, height: int) -> dict:
    import torch

    wanted = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "width": width,
        "height": height,
        "num_inference_steps": _GUIDER_STEPS if getattr(pipe, "guider", None) is not None else _STEPS,
        "generator": torch.Generator("cpu"),
        "output_type": "np",
        "use_resolution_binning": False,
        "use_pe": False,
        "enable_prompt_rewrite": False,
        "max_area": width * height,  # otherwise FLUX.1 Kontext generates a larger size
    }
    known = inspect.signature(type(pipe).__call__).parameters
    numbers = (name for name in GUIDANCE if name in known and known[name].default is not None)
    return {name: value for name, value in wanted.items() if name in known} | dict.fromkeys(numbers, _SCALES[0])
