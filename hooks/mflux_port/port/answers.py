"""The answers file as somebody may have edited it: the same limits that the questions of ``copier.yml`` set.

What passes here goes into file names, Python, TOML and Markdown, so nothing is converted: a wrong kind is an error.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from mflux_port.checkout.tree import verify_inside
from mflux_port.errors import PortError, short_repr
from mflux_port.files.yaml_files import read_yaml

ANSWERS = "porting/{model}/answers.yml"
# What commands write and take away lies in these.
_FOLDERS = ("porting/{model}", "src/mflux/models/{model}", "tests", "tests/parity")
VARIANTS = ("txt2img", "edit")
_MODEL = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
_REPO = r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
_COMMAND = r"[a-z0-9]+([.-][a-z0-9]+)*"
_NAME = r"[a-z0-9]+([._-][a-z0-9]+)*"
# Pattern, longest, and what to type instead.
_TEXTS = {
    "model": (_MODEL, 40, "lower case letters, digits and single underscores"),
    "class_name": (r"[A-Z][A-Za-z0-9]*", 40, "a class name in CamelCase"),
    "display_name": (r"[A-Za-z0-9][A-Za-z0-9 ._+-]*", 60, "letters, digits, spaces and . _ + -"),
    "cli_name": (_COMMAND, 40, "lower case letters, digits, hyphens and dots"),
    "hf_repo": (_REPO, 200, "a Hugging Face repo id, organisation/name"),
    "reference_pipeline": (r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", 200, "the name of a class"),
    "vae": (r"[a-z][a-z0-9_]*", 40, "a choice of that question"),
    "text_encoder": (r"[a-z][a-z0-9_]*", 40, "a choice of that question"),
    "scheduler": (r"[a-z][a-z0-9_]*", 40, "a choice of that question"),
    "mflux_api": (r"[0-9]+\.[0-9]+", 10, 'a level in quotes, such as "0.24"'),
}
_FLAGS = ("supports_guidance", "img2img", "negative_prompt", "lora", "training")
_OTHERS = ("steps", "guidance", "checkpoints", "variants")
_TAKEN = ("common", "common_models", "mflux", "None", "True", "False")
# The fields of an entry that are the template's own; all others are ModelConfig's.
ENTRY_FIELDS = {
    "key", "hf_repo", "aliases", "steps", "guidance", "supports_guidance", "variant", "cli_name", "revision",
}  # fmt: skip
_TABLES = ("transformer_overrides", "text_encoder_overrides")
_DEPTH, _VALUES = 8, 10_000


def read_answers(checkout: Path, model: str) -> dict:
    """The answers as they stand in the file, not looked at. Raises PortError when there is no such mapping."""
    path = checkout / ANSWERS.format(model=model)
    if not re.fullmatch(_MODEL, model):
        raise PortError(f"{model!r} is no package name; type the port's `model` answer, for example my_model")
    for name in _FOLDERS:
        verify_inside(checkout, name.format(model=model))
    cure = f"mend it, or take it from an earlier commit: `git log -- {path}`"
    try:
        answers = read_yaml(path, cure)
    except (FileNotFoundError, NotADirectoryError):
        raise PortError(f"{path} is missing; start the port with `copier copy`, or name one of its ports") from None
    if not isinstance(answers, dict):
        raise PortError(f"{path} is no mapping of answers; {cure}")
    return answers


def verify(answers: dict, where: str) -> None:
    """Raise PortError naming the first answer that is missing, or that no question would have let through."""
    for name in (*_TEXTS, *_FLAGS, *_OTHERS):
        if name not in answers:
            raise PortError(f"{where} has no answer {name!r}; run `copier copy` again or write it there")
    verify_kinds(answers, where)
    for entry in answers["checkpoints"]:
        guided = entry.get("supports_guidance", answers["supports_guidance"])
        if not guided and entry.get("guidance", 1) != 1:
            raise PortError(
                f"{where}: {entry['key']} runs without guidance, which is 1.0, and has {entry['guidance']}; mend one"
            )


def verify_kinds(answers: dict, where: str) -> None:
    """The same for the answers that are there: a port of an older template has not heard of every question."""
    for name, (pattern, longest, wanted) in _TEXTS.items():
        if name in answers:
            _text(answers[name], pattern, longest, wanted, f"{where}: {name}")
    for name in ("model", "class_name"):
        if name in answers and (answers[name] in _TAKEN or keyword.iskeyword(answers[name])):
            raise PortError(f"{where}: {name} is {answers[name]!r}, a name that is taken; type another")
    for name in _FLAGS:
        _flag(answers.get(name, True), f"{where}: {name}")
    _number(answers.get("steps", 1), True, 1, 1000, f"{where}: steps")
    _number(answers.get("guidance", 1), False, 0, 100, f"{where}: guidance")
    variants = answers.get("variants", ["txt2img"])
    _variants(variants, f"{where}: variants")
    for name in ("_src_path", "_commit"):
        _text(answers.get(name, ""), r"(?!-)[^\x00-\x1f\x7f]*", 4096, "what Copier wrote there", f"{where}: {name}")
    if "checkpoints" in answers:
        _entries(answers["checkpoints"], variants, where)


def _entries(entries: object, variants: list, where: str) -> None:
    if not isinstance(entries, list):
        raise PortError(f"{where}: checkpoints is {short_repr(entries)}; write it as a list of `- key: …, hf_repo: …`")
    if not entries:
        raise PortError(f"{where}: `checkpoints` is empty; list at least one entry with key and hf_repo")
    keys = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise PortError(
                f"{where}: a `checkpoints` entry is {short_repr(entry)}; write it as `- key: …, hf_repo: …`"
            )
        for name in ("key", "hf_repo"):
            if name not in entry:
                raise PortError(f"{where}: entry {number} has no answer {name!r}; write it as `- key: …, hf_repo: …`")
        _entry(entry, variants, f"{where}: entry {number}")
        keys.append(re.sub(r"[^a-z0-9]+", "_", entry["key"]))
    if len(set(keys)) < len(keys):
        raise PortError(
            f"{where}: two entries of checkpoints have the same key, or the same function; give each its own"
        )


def _entry(entry: dict, variants: list, where: str) -> None:
    words = "lower case letters, digits, hyphens and dots"
    _text(entry["key"], rf"(?=[a-z]){_NAME}", 50, f"a model name, {words}, starting with a letter", f"{where}, key")
    if keyword.iskeyword(re.sub(r"[^a-z0-9]+", "_", entry["key"])):
        raise PortError(f"{where}: no function can be called {entry['key']!r}; type another key")
    where = f"{where} ({entry['key']})"
    _text(entry["hf_repo"], *_TEXTS["hf_repo"], f"{where}, hf_repo")
    aliases = [] if entry.get("aliases") is None else entry["aliases"]
    if not isinstance(aliases, list):
        raise PortError(f"{where}: aliases is {short_repr(aliases)}; write a list of names")
    for name in aliases:
        _text(name, _NAME, 50, f"a model name, {words}", f"{where}, an alias")
    _number(entry.get("steps", 1), True, 1, 1000, f"{where}, steps")
    _number(entry.get("guidance", 1), False, 0, 100, f"{where}, guidance")
    _flag(entry.get("supports_guidance", True), f"{where}, supports_guidance")
    if entry.get("variant", "txt2img") not in variants:
        known = ", ".join(variants)
        raise PortError(f"{where} has variant {short_repr(entry['variant'])}; `variants` lists {known}")
    for name, pattern, wanted in (
        ("cli_name", _COMMAND, words),
        ("revision", "[0-9a-f]{40}", "a commit of 40 hex digits"),
    ):
        if entry.get(name) not in (None, ""):
            _text(entry[name], pattern, 50, wanted, f"{where}, {name}")
    _fields(entry, where)


def _fields(entry: dict, where: str) -> None:
    # Fields of ModelConfig: which of them mflux takes is looked up in the checkout.
    for name in _TABLES:
        table = {} if entry.get(name) is None else entry[name]
        if not isinstance(table, dict) or not all(isinstance(key, str) and key.isidentifier() for key in table):
            raise PortError(f"{where}: {name} is {short_repr(table)}; write a mapping of names to sizes")
        for count in ("num_layers", "num_hidden_layers"):  # they become counts of blocks in the port's code
            _number(table.get(count, 1), True, 1, 10_000, f"{where}, {count} of {name}")
    left = [_VALUES]
    for name, value in entry.items():
        if name not in ENTRY_FIELDS:
            _plain(value, _DEPTH, left, f"{where}, {short_repr(name)}")


def _plain(value: object, depth: int, left: list[int], where: str) -> None:
    # Anchors can make a few lines of YAML endless, or a loop.
    left[0] -= 1
    if not depth or left[0] < 0:
        raise PortError(f"{where} is too deep or too long; write plain values")
    if isinstance(value, dict):
        for key, item in value.items():
            _plain(key, depth - 1, left, where)
            _plain(item, depth - 1, left, where)
    elif isinstance(value, list):
        for item in value:
            _plain(item, depth - 1, left, where)
    elif isinstance(value, str):
        _text(value, r"[^\x00-\x1f\x7f\ud800-\udfff]*", 1000, "text of one line", where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number(value, False, -1e18, 1e18, where)
    elif value is not None and not isinstance(value, bool):
        raise PortError(f"{where} holds {short_repr(value)}, which is no plain value; mend it")


def _variants(variants: object, where: str) -> None:
    if not isinstance(variants, list) or "txt2img" not in variants or any(name not in VARIANTS for name in variants):
        raise PortError(f"{where} is {short_repr(variants)}; write [txt2img] or [txt2img, edit]")


def _text(value: object, pattern: str, longest: int, wanted: str, where: str) -> None:
    if not isinstance(value, str):
        raise PortError(f"{where} is {short_repr(value)}, which is no text; write {wanted}, in quotes")
    if not re.fullmatch(pattern, value, re.ASCII) or len(value) > longest:
        raise PortError(f"{where} is {short_repr(value)}; write {wanted} (at most {longest} characters)")


def _flag(value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise PortError(f"{where} is {short_repr(value)}; write true or false, without quotes")


def _number(value: object, whole: bool, least: float, most: float, where: str) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:  # NaN is not between
        kind = "a whole number" if whole else "a number"
        raise PortError(f"{where} is {short_repr(value)}; write {kind} from {least:g} to {most:g}")
