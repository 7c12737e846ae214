"""Check an answers file, which somebody may have edited, with the same limits as the questions of ``copier.yml``.

What passes here goes into file names, Python, TOML and Markdown, so nothing is converted: a wrong type is an error. An
answer that passes here and that a validator of ``copier.yml`` refuses would be replaced by the question's default in an
update; a property test compares the two.
"""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.checkout.tree import verify_inside
from mflux_port.errors import PortError, short_repr
from mflux_port.files.yaml_files import read_yaml
from mflux_port.port.answer_rules import (
    answer_rules,
    choices,
    is_python_word,
    taken_class_names,
    verify_choice,
    verify_flag,
    verify_number,
    verify_text,
)
from mflux_port.port.checkpoint_entries import verify_entries
from mflux_port.port.text_encoders import text_encoders, verify_sizes, verify_text_encoders

ANSWERS = "porting/{model}/answers.yml"
# The folders that commands write to and remove from.
_FOLDERS = ("porting/{model}", "src/mflux/models/{model}", "tests", "tests/parity")
_TEXTS = ("model", "class_name", "display_name", "cli_name", "hf_repo", "reference_pipeline")
_NUMBERS = ("steps", "guidance")
_FLAGS = ("supports_guidance", "img2img", "negative_prompt", "lora", "training")
_CHOICES = ("vae", "text_encoder", "scheduler", "mflux_api")
_QUESTIONS = (*_TEXTS, *_CHOICES, *_FLAGS, *_NUMBERS, "checkpoints", "variants")
# Keys that Copier writes in addition to the answers.
_NOTES = {"pattern": r"(?!-)[^\x00-\x1f\x7f]*", "longest": 4096, "wanted": "what Copier wrote there"}


def read_answers(checkout: Path, model: str) -> dict:
    """The answers in the file, not checked. Raises PortError when there is no such mapping."""
    path = checkout / ANSWERS.format(model=model)
    if not re.fullmatch(answer_rules()["model"]["pattern"], model):
        raise PortError(f"{model!r} is not a package name; type the port's `model` answer, for example my_model")
    for name in _FOLDERS:
        verify_inside(checkout, name.format(model=model))
    cure = f"fix it, or restore it from an earlier commit: `git log -- {path}`"
    try:
        answers = read_yaml(path, cure)
    except (FileNotFoundError, NotADirectoryError):
        raise PortError(f"{path} is missing; start the port with `copier copy`, or name an existing port") from None
    if not isinstance(answers, dict):
        raise PortError(f"{path} is not a mapping of answers; {cure}")
    return answers


def verify(answers: dict, where: str) -> None:
    """Raise PortError naming the first answer that is missing, or that no question would accept."""
    for name in _QUESTIONS:
        if name not in answers:
            raise PortError(f"{where} has no answer {name!r}; run `copier copy` again or write it there")
    verify_present(answers, where)


def verify_present(answers: dict, where: str) -> None:
    """Like ``verify``, for the answers that are present: a port made with an older template may not
    have all of them.
    """
    rules = answer_rules()
    for name in _TEXTS:
        if name in answers:
            verify_text(answers[name], rules[name], f"{where}: {name}")
    _verify_free(answers, where)
    for name in _CHOICES:
        if name in answers:
            verify_choice(answers[name], name, f"{where}: {name}")
    for name in _FLAGS:
        verify_flag(answers.get(name, True), f"{where}: {name}")
    for name in _NUMBERS:
        verify_number(answers.get(name, 1), rules[name], f"{where}: {name}", whole=name == "steps")
    _verify_variants(answers.get("variants", ["txt2img"]), f"{where}: variants")
    verify_text_encoders(answers, where)
    verify_number(answers.get("size_multiple", 16), rules["size_multiple"], f"{where}: size_multiple", whole=True)
    for name in ("_src_path", "_commit"):
        verify_text(answers.get(name, ""), _NOTES, f"{where}: {name}")
    if "checkpoints" in answers:
        verify_entries(answers, where)
        _verify_together(answers, where)


def _verify_free(answers: dict, where: str) -> None:
    taken = {"model": answer_rules()["model"]["taken"], "class_name": taken_class_names()}
    for name, names in taken.items():
        if name in answers and (answers[name] in names or is_python_word(answers[name])):
            raise PortError(f"{where}: {name} is {answers[name]!r}, a name that is taken; type another")


def _verify_variants(variants: object, where: str) -> None:
    known = choices("variants")
    if not isinstance(variants, list) or "txt2img" not in variants or any(name not in known for name in variants):
        raise PortError(f"{where} is {short_repr(variants)}; write [txt2img] or [txt2img, edit]")


def _verify_together(answers: dict, where: str) -> None:
    # Find answers that are each valid but contradict one another.
    entries, rules = answers["checkpoints"], answer_rules()
    fields = [name for entry in entries for name in entry if name in rules["shift_fields"]]
    if answers.get("scheduler") == "flow_match_euler_discrete" and fields:
        raise PortError(f"{where}: flow_match_euler_discrete does not read {fields[0]}; delete it from checkpoints")
    lengths = [entry.get("max_sequence_length", 1) for entry in entries]
    verify_sizes(answers, where)
    only_clip = "text_encoder" in answers and all(encoder.kind == "clip" for encoder in text_encoders(answers))
    if only_clip and max(lengths) > rules["clip_tokens"]:
        raise PortError(f"{where}: clip takes at most {rules['clip_tokens']} tokens; lower max_sequence_length")
    guided = any(entry.get("supports_guidance", answers.get("supports_guidance")) for entry in entries)
    if answers.get("negative_prompt") and not guided:
        raise PortError(f"{where}: negative_prompt is true and no checkpoint supports guidance; write false")
    if answers.get("training") and not answers.get("lora", True):
        raise PortError(f"{where}: training is true and needs lora; write lora: true, or training: false")
    if answers.get("training") and not any(entry.get("variant") != "edit" for entry in entries):
        raise PortError(f"{where}: training is true and every checkpoint has the variant edit; write false")
