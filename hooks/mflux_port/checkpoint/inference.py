"""Infer answers to the template's questions from a checkpoint, each with the fact that it follows from."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mflux_port.checkpoint.layout import Checkpoint, Component
from mflux_port.checkpoint.pipeline_source import PipelineDefaults, read_defaults
from mflux_port.checkpoint.reuse import reusable
from mflux_port.checkpoint.size_multiple import ROUNDED, patch_of, pixels_of, size_multiple
from mflux_port.errors import short_repr
from mflux_port.port.text_encoders import OF_FIXED_SIZE, WITHOUT_MASK

# Keywords of mflux's text encoders that a config.json may have.
_TEXT_ENCODER_KEYWORDS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "max_position_embeddings", "head_dim", "rope_theta", "rms_norm_eps",
)  # fmt: skip
# Keywords that a class takes in addition to the common ones, and the common one that a class does not take.
_MORE_TAKEN = {"gemma2": ("query_pre_attn_scalar", "attn_logit_softcapping")}
_NOT_TAKEN = {"gemma2": "max_position_embeddings", "smollm3": "head_dim"}
_ALIAS = r"[a-z0-9]+([._-][a-z0-9]+)*"  # the same pattern as in answer_rules.yml
# A dynamic shift: field of mflux's ModelConfig, key of scheduler_config.json, value when the key is missing.
_DYNAMIC_SHIFT = (
    ("sigma_base_shift",   "base_shift",         0.5),
    ("sigma_max_shift",    "max_shift",          1.15),
    ("sigma_base_seq_len", "base_image_seq_len", 256),
    ("sigma_max_seq_len",  "max_image_seq_len",  4096),
)  # fmt: skip
# Flags of FlowMatchEulerDiscreteScheduler that change the sigmas in a way that no choice of the template has.
_ODD_SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "stochastic_sampling")
# Files with facts about sampling: question, file, keys in the order of preference.
_SIDE_FACTS = (
    ("guidance", "guider_config.json",     ("guidance_scale",)),
    ("guidance", "generation_config.json", ("guidance_scale", "diff_guidance_scale", "true_cfg_scale", "cfg_scale")),
    ("steps",    "generation_config.json", ("num_inference_steps", "diff_infer_steps", "num_steps", "steps")),
)  # fmt: skip
_NOT_FOUND = "not in the checkpoint: take it from the model card"
# How diffusers names pipelines that edit. Other pipelines may take an image too; the porter decides about those.
_EDITS = re.compile(r"(?:Edit(?:Plus)?|Kontext)(?=(?:Pipeline)?$)")
# Words in a repo's name that mean a distilled checkpoint, which is run without guidance.
_NO_GUIDANCE_NAMES = ("turbo", "schnell", "lightning", "distilled", "hyper")


@dataclass(frozen=True)
class Answer:
    """An answer with the fact that it was inferred from. ``known`` is false if the checkpoint does not contain it."""

    value: object
    why: str
    known: bool = True


def infer(checkpoint: Checkpoint) -> dict[str, Answer]:
    """Answers by question name, in the order of the questions. What cannot be inferred is left out."""
    defaults = defaults_of(checkpoint)
    edits = bool(defaults and defaults.takes_image and _EDITS.search(checkpoint.pipeline))
    answers = _names(checkpoint, edits)
    if checkpoint.pipeline:
        code = f"; it is the checkpoint's own code ({checkpoint.pipeline_module})" if checkpoint.pipeline_module else ""
        answers["reference_pipeline"] = Answer(checkpoint.pipeline, f"model_index.json, _class_name{code}", not code)
    answers["steps"], answers["guidance"] = _sampling(checkpoint, defaults)
    supports = answers["guidance"].value != 1.0
    answers["supports_guidance"] = Answer(supports, "follows from guidance", answers["guidance"].known)
    if edits:
        answers["variants"] = Answer(["txt2img", "edit"], f"{checkpoint.pipeline} edits an image that it is given")
    answers["vae"] = infer_vae(checkpoint.part("vae"))
    if not checkpoint.part("vae") and checkpoint.model_index.get("vae") not in (None, [None, None]):
        answers["vae"] = _not_here("vae")
    encoders = infer_text_encoders(checkpoint, defaults)
    answers["text_encoder"] = encoders[0]
    answers |= _places(checkpoint, encoders) | _sizes(checkpoint)
    answers["scheduler"], schedule = infer_scheduler(checkpoint, defaults)
    if defaults and not defaults.takes_negative_prompt:
        answers["negative_prompt"] = Answer(
            False, f"{checkpoint.pipeline} uses no negative prompt at its default scales"
        )
    entry = _entry(checkpoint, answers, encoders, schedule)
    if entry:
        answers["checkpoints"] = Answer([entry], "the config.json files")
    return answers


def defaults_of(checkpoint: Checkpoint) -> PipelineDefaults | None:
    """The facts in the pipeline's source, if it can be read."""
    return read_defaults(checkpoint.pipeline, checkpoint.pipeline_source, checkpoint.pipeline_module)


def infer_vae(component: Component | None) -> Answer:
    """Find mflux's VAE that computes the same as the checkpoint's, by comparing every value of its config.json."""
    if component is None:
        return Answer("own", "the checkpoint has no folder vae")
    config, name = component.config, component.class_name
    channels = config.get("z_dim", config.get("latent_channels"))
    choice, why = reusable("vae", name, [], config)
    return Answer(choice, f"{component.name}/config.json: {name} with {short_repr(channels)} latent channels; {why}")


def infer_text_encoders(checkpoint: Checkpoint, defaults: PipelineDefaults | None = None) -> list[Answer]:
    """Do the same for each text encoder of model_index.json, in its order; there is always at least one."""
    found = []
    for name in checkpoint.text_encoders:
        component = checkpoint.components.get(name)
        answer = infer_text_encoder(component) if component else _not_here(name)
        if defaults and name in defaults.masked and answer.value in WITHOUT_MASK:
            why = f"{checkpoint.pipeline} gives it a mask, which mflux's {answer.value} does not take"
            answer = Answer("own", f"{answer.why}; {why}")
        found.append(answer)
    return found or [infer_text_encoder(None)]


def infer_text_encoder(component: Component | None) -> Answer:
    """Find mflux's text encoder that computes the same as the checkpoint's, by every value of its config.json."""
    if component is None:
        return Answer("own", "the checkpoint has no folder text_encoder")
    outer, config = component.config, _text_config(component.config)
    kinds = [kind for kind in (outer.get("model_type"), config.get("model_type")) if isinstance(kind, str)]
    choice, why = reusable("text_encoder", component.class_name, kinds, config)
    fact = f"{component.name}/config.json: {component.class_name} of type {' and '.join(dict.fromkeys(kinds)) or 'unknown'}"
    return Answer(choice, f"{fact}; {why}")


def _not_here(name: str) -> Answer:
    return Answer("own", f"model_index.json lists {name}, which is not here; download it first", False)


def _places(checkpoint: Checkpoint, encoders: list[Answer]) -> dict[str, Answer]:
    """The checkpoint's folders and all its text encoders, where they differ from the template's defaults."""
    answers = {}
    entries = [
        {"folder": name, "tokenizer": tokenizer_of(checkpoint, name)} | ({"kind": answer.value} if number else {})
        for number, (name, answer) in enumerate(zip(checkpoint.text_encoders, encoders, strict=False))
    ]
    if entries and entries != [{"folder": "text_encoder", "tokenizer": "tokenizer"}]:
        why = "; ".join(answer.why for answer in encoders)
        answers["text_encoders"] = Answer(entries, why, all(answer.known for answer in encoders))
    folders = {role: part.folder for role in ("transformer", "vae") if (part := checkpoint.part(role))}
    folders = {role: folder for role, folder in folders.items() if folder not in ("", role)}
    several = [part.name for part in checkpoint.components.values() if part.role == "transformer"]
    if folders or len(several) > 1:
        why = (
            "model_index.json"
            if len(several) < 2
            else f"{' and '.join(several)} are denoisers, and the port supports one"
        )
        answers["folders"] = Answer(folders, why, len(several) < 2)
    return answers


def _sizes(checkpoint: Checkpoint) -> dict[str, Answer]:
    """The multiple of both sides of an image, if it is not the template's default."""
    vae, transformer = checkpoint.part("vae"), checkpoint.part("transformer")
    if vae is None or transformer is None:
        return {}
    pixels = pixels_of(vae.config)
    if pixels is None:
        why = f"{vae.name}/config.json does not say how many pixels a latent spans; {ROUNDED} is the template's default"
        return {"size_multiple": Answer(ROUNDED, why, False)}
    patch = patch_of(transformer.config, vae.config)
    found = size_multiple(pixels, patch)
    if found == ROUNDED:
        return {}
    return {"size_multiple": Answer(found, f"config.json: {pixels} pixels for each latent, patches of {patch} latents")}


def tokenizer_of(checkpoint: Checkpoint, encoder: str) -> str:
    """The folder of a text encoder's tokenizer: the one with the same number, else the only one, else by position."""
    own = re.sub("^text_encoder", "tokenizer", encoder)
    listed = [name for name in checkpoint.model_index if name in checkpoint.tokenizers] or list(checkpoint.tokenizers)
    folders = [name for name in listed if name not in checkpoint.components] or listed
    if own in folders:
        return own
    if not folders:
        return own if own != encoder else "tokenizer"
    place = checkpoint.text_encoders.index(encoder)
    return folders[place] if place < len(folders) else folders[0]


def infer_scheduler(checkpoint: Checkpoint, defaults: PipelineDefaults | None = None) -> tuple[Answer, dict]:
    """The scheduler choice and the ``ModelConfig`` fields that its shift becomes.

    Shifts follow FlowMatchEulerDiscreteScheduler run with sigmas from 1 to 1/steps: a static shift s is base and
    maximal shift ln(s).
    """
    config = checkpoint.scheduler
    name = str(config.get("_class_name", ""))
    if not config:
        return Answer("linear", "the checkpoint has no scheduler_config.json", False), {}
    if name != "FlowMatchEulerDiscreteScheduler":
        return Answer("own", f"scheduler_config.json: {name}, which the template does not offer"), {}
    if defaults and not defaults.gives_sigmas:
        return Answer("own", f"{checkpoint.pipeline} leaves the sigmas to its scheduler, in {defaults.where}"), {}
    odd = [flag for flag in _ODD_SIGMAS if config.get(flag)]
    if odd or config.get("time_shift_type", "exponential") != "exponential":
        return Answer("own", f"scheduler_config.json: {', '.join(odd) or 'time_shift_type'} is set"), {}
    if config.get("use_dynamic_shifting") and checkpoint.pipeline.startswith("Flux2"):
        fact = f"{checkpoint.pipeline} shifts by FLUX.2's empirical rule"
        return Answer("flow_match_euler_discrete", fact), {"requires_sigma_shift": True}
    if config.get("use_dynamic_shifting"):
        return Answer("linear", "scheduler_config.json: dynamic shift"), _dynamic_shift(config)
    shift = config.get("shift", 1.0)
    if not _is_number(shift) or shift <= 0:
        return Answer("own", f"scheduler_config.json: shift is {short_repr(shift)}"), {}
    if shift == 1.0:
        return Answer("linear", "scheduler_config.json: no shift"), {"requires_sigma_shift": False}
    log_shift = round(math.log(shift), 10)
    fields = {"requires_sigma_shift": True, "sigma_base_shift": log_shift, "sigma_max_shift": log_shift}
    return Answer("linear", f"scheduler_config.json: static shift {shift} (ln {shift} = {log_shift:.4f})"), fields


def dimensions(config: dict) -> dict[str, int | list[int]]:
    """The sizes that a config.json gives: its whole numbers and lists of whole numbers, under their own names."""
    sizes = {}
    for name, value in config.items():
        if name.startswith(("_", "chunk_")) or name.endswith(("_token_id", "_step")) or not name.isidentifier():
            continue
        numbers = value if isinstance(value, list) else [value]
        if numbers and all(type(number) is int for number in numbers):
            sizes[name] = value
    return sizes


def _names(checkpoint: Checkpoint, edits: bool) -> dict[str, Answer]:
    answers = {}
    family = re.sub("Pipeline$", "", checkpoint.pipeline)
    if edits:  # the template adds the word to the edit variant's names
        family = _EDITS.sub("", family) or family
    title = checkpoint.repo.rpartition("/")[2]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", family or title)
    name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if re.fullmatch("[a-z][a-z0-9_]*", name):
        answers["model"] = Answer(name, "the pipeline's name" if family else "the repo's name")
    if title:
        display = re.sub(r"[^A-Za-z0-9 ._+-]", " ", title).strip()
        answers["display_name"] = Answer(display, "the repo's name")
        answers["hf_repo"] = Answer(checkpoint.repo, "the repo that was inspected")
    return answers


def _sampling(checkpoint: Checkpoint, defaults: PipelineDefaults | None) -> tuple[Answer, Answer]:
    distilled = next((word for word in _NO_GUIDANCE_NAMES if word in checkpoint.repo.lower()), None)
    steps = _from_side_files(checkpoint, "steps") or Answer(28, _NOT_FOUND, False)
    guidance = _from_side_files(checkpoint, "guidance")
    if defaults and defaults.steps and not steps.known:
        # A distilled checkpoint shares its pipeline with the one that it was distilled from.
        steps = Answer(defaults.steps, f"default of {checkpoint.pipeline} in {defaults.where}", not distilled)
    if checkpoint.model_index.get("is_distilled") is True:
        guidance = Answer(1.0, "model_index.json: is_distilled")
    elif guidance is None and distilled:
        guidance = Answer(1.0, f"the repo's name says {distilled}; check the model card", False)
    elif guidance is None and defaults and defaults.guidance is not None:
        guidance = Answer(defaults.guidance, f"default of {checkpoint.pipeline} in {defaults.where}")
    return steps, guidance or Answer(4.0, _NOT_FOUND, False)


def _from_side_files(checkpoint: Checkpoint, question: str) -> Answer | None:
    for asked, file, keys in _SIDE_FACTS:
        for path, config in checkpoint.side_files.items() if asked == question else ():
            folder, _, name = path.rpartition("/")
            if name != file or folder.startswith(("text_encoder", "tokenizer")):
                continue
            if config.get("enabled") is False and question == "guidance":
                return Answer(1.0, f"{path}: enabled is false")
            key = next((key for key in keys if _is_number(config.get(key)) and config[key] > 0), None)
            if key and (question == "guidance" or type(config[key]) is int):
                value = float(config[key]) if question == "guidance" else config[key]
                return Answer(value, f"{path}: {key}")
    return None


def _entry(checkpoint: Checkpoint, answers: dict[str, Answer], encoders: list[Answer], schedule: dict) -> dict:
    if not checkpoint.repo:
        return {}
    base = checkpoint.repo.rpartition("/")[2].lower()
    key = re.sub(r"[^a-z0-9.]+", "-", base).strip("-.")
    # mflux finds a folder's model by the repo's own name, which may have characters that a key may not have.
    aliases = [key, base] if base != key and re.fullmatch(_ALIAS, base) else [key]
    entry = {"key": key, "hf_repo": checkpoint.repo, "aliases": aliases}
    entry |= {name: answers[name].value for name in ("steps", "guidance", "supports_guidance")}
    if "variants" in answers:
        entry["variant"] = "edit"
    if checkpoint.revision:
        entry["revision"] = checkpoint.revision
    entry |= overrides(checkpoint, [answer.value for answer in encoders])
    return entry | schedule


def overrides(checkpoint: Checkpoint, kinds: list) -> dict[str, dict]:
    """``transformer_overrides`` and ``text_encoder_overrides`` of the registry entry; empty ones are left out.

    ``kinds``: the answers for the text encoders. Several text encoders have a table of sizes each.
    """
    found = {}
    transformer = checkpoint.part("transformer")
    if transformer and dimensions(transformer.config):
        found["transformer_overrides"] = dimensions(transformer.config)
    roles = ["text_encoder", *(f"text_encoder_{number}" for number in range(2, len(kinds) + 1))]
    tables = {role: _encoder_sizes(checkpoint.part(role), kind) for role, kind in zip(roles, kinds, strict=True)}
    tables = {role: sizes for role, sizes in tables.items() if sizes}
    if tables:
        found["text_encoder_overrides"] = tables if len(kinds) > 1 else tables["text_encoder"]
    return found


def _encoder_sizes(encoder: Component | None, text_encoder: object) -> dict:
    if encoder and text_encoder not in OF_FIXED_SIZE:
        config = _text_config(encoder.config)
        # Newer configs keep the base of the rotary embedding in a separate table.
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if isinstance(rope, dict) and "rope_theta" in rope:
            config = {"rope_theta": rope["rope_theta"]} | config
        known = (*_TEXT_ENCODER_KEYWORDS, *_MORE_TAKEN.get(text_encoder, ()))
        taken = [name for name in known if name != _NOT_TAKEN.get(text_encoder)]
        kept = {name: config[name] for name in taken if type(config.get(name)) in (int, float)}
        if text_encoder == "own":
            kept = dimensions(config)
        return kept
    return {}


def _text_config(config: dict) -> dict:
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _dynamic_shift(config: dict) -> dict:
    given = {name: value for name, value in config.items() if _is_number(value) and value}
    fields = {field: given.get(key, default) for field, key, default in _DYNAMIC_SHIFT}
    if "shift_terminal" in given:
        fields["sigma_shift_terminal"] = config["shift_terminal"]
    return {"requires_sigma_shift": True} | fields


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18  # false for NaN
