"""Check the entries of the answer ``checkpoints``: each by itself, then all together."""

from __future__ import annotations

import re

from mflux_port.errors import PortError, short_repr
from mflux_port.port.answer_rules import (
    answer_rules,
    is_python_word,
    verify_flag,
    verify_number,
    verify_text,
)

# The fields of an entry that belong to the template; all others belong to ModelConfig.
ENTRY_FIELDS = {
    "key", "hf_repo", "aliases", "steps", "guidance", "supports_guidance", "variant", "cli_name", "revision",
}  # fmt: skip


def verify_entries(answers: dict, where: str) -> None:
    """Raise PortError naming the first entry that the question ``checkpoints`` would not accept.

    ``answers`` holds ``checkpoints``, and other answers that are already checked.
    """
    entries = answers["checkpoints"]
    if not isinstance(entries, list):
        raise PortError(f"{where}: checkpoints is {short_repr(entries)}; write it as a list of `- key: …, hf_repo: …`")
    if not entries:
        raise PortError(f"{where}: `checkpoints` is empty; list at least one entry with key and hf_repo")
    for number, entry in enumerate(entries, 1):
        _verify_shape(entry, number, where)
        _verify_names(entry, f"{where}: entry {number}")
        named = f"{where}: entry {number} ({entry['key']})"
        _verify_sampling(entry, answers, named)
        _verify_command(entry, answers, named)
        _verify_tables(entry, named)
        _verify_fields(entry, named)
    _verify_all(entries, answers, where)


def _verify_shape(entry: object, number: int, where: str) -> None:
    if not isinstance(entry, dict):
        raise PortError(f"{where}: a `checkpoints` entry is {short_repr(entry)}; write it as `- key: …, hf_repo: …`")
    for name in ("key", "hf_repo"):
        if name not in entry:
            raise PortError(f"{where}: entry {number} has no answer {name!r}; write it as `- key: …, hf_repo: …`")


def _verify_names(entry: dict, where: str) -> None:
    rules = answer_rules()["entry"]
    verify_text(entry["key"], rules["key"], f"{where}, key")
    if is_python_word(_factory(entry)):
        raise PortError(f"{where}: no function can be called {entry['key']!r}; type another key")
    verify_text(entry["hf_repo"], rules["hf_repo"], f"{where} ({entry['key']}), hf_repo")
    aliases = [] if entry.get("aliases") is None else entry["aliases"]
    if not isinstance(aliases, list):
        raise PortError(f"{where} ({entry['key']}): aliases is {short_repr(aliases)}; write a list of names")
    for name in aliases:
        verify_text(name, rules["alias"], f"{where} ({entry['key']}), an alias")
    if entry.get("revision") not in (None, ""):
        verify_text(entry["revision"], rules["revision"], f"{where} ({entry['key']}), revision")


def _verify_sampling(entry: dict, answers: dict, where: str) -> None:
    rules = answer_rules()
    verify_number(entry.get("steps", 1), rules["steps"], f"{where}, steps", whole=True)
    verify_number(entry.get("guidance", 1), rules["guidance"], f"{where}, guidance")
    verify_flag(entry.get("supports_guidance", True), f"{where}, supports_guidance")
    if not entry.get("supports_guidance", answers.get("supports_guidance", True)) and entry.get("guidance", 1) != 1:
        raise PortError(
            f"{where} runs without guidance, which is 1.0, and has {entry['guidance']}; change one of the two"
        )
    length = entry.get("max_sequence_length", 1)
    verify_number(length, rules["entry"]["max_sequence_length"], f"{where}, max_sequence_length", whole=True)


def _verify_command(entry: dict, answers: dict, where: str) -> None:
    variants = answers.get("variants", ["txt2img"])
    wanted = entry.get("variant", "txt2img")
    if wanted not in (*variants, *(["both"] if "edit" in variants else [])):
        raise PortError(f"{where} has variant {short_repr(wanted)}; `variants` lists {', '.join(variants)}")
    if not _own_command(entry, answers):
        return
    verify_text(entry["cli_name"], answer_rules()["entry"]["cli_name"], f"{where}, cli_name")
    model = answers.get("model")
    if _factory(entry) in (model, f"{model}_edit"):
        family = answers.get("cli_name")
        raise PortError(f"{where} is run by mflux-generate-{family}; leave its cli_name out")


def _verify_tables(entry: dict, where: str) -> None:
    rules = answer_rules()["entry"]
    for name in rules["tables"]:
        table = {} if entry.get(name) is None else entry[name]
        of_each = name == "text_encoder_overrides" and isinstance(table, dict) and _is_of_each(table, rules["encoders"])
        for inner in table.values() if of_each else [table]:
            _verify_sizes(inner, name, where)


def _is_of_each(table: dict, encoders: list[str]) -> bool:
    # The sizes of several text encoders: a table for each.
    return bool(table) and all(name in encoders for name in table)


def _verify_sizes(given: object, name: str, where: str) -> None:
    rules, table = answer_rules()["entry"], {} if given is None else given
    if not isinstance(table, dict) or not all(_is_size(size, value) for size, value in table.items()):
        raise PortError(f"{where}: {name} is {short_repr(table)}; write a mapping of names to sizes")
    for count in rules["counts"]:
        verify_number(table.get(count, 1), rules["count"], f"{where}, {count} of {name}", whole=True)


def _is_size(name: object, value: object) -> bool:
    rule = answer_rules()["entry"]["size_name"]
    if not isinstance(name, str) or len(name) > rule["longest"] or isinstance(value, dict):
        return False
    return bool(re.fullmatch(rule["pattern"], name)) and not is_python_word(name)


def _verify_fields(entry: dict, where: str) -> None:
    # The checkout decides which fields ModelConfig takes.
    rules = answer_rules()["entry"]
    left = [rules["most_values"]]
    for name, value in entry.items():
        if name not in ENTRY_FIELDS:
            text_rule = rules["size_text" if name in rules["tables"] else "field_text"]
            _verify_plain(value, rules["depth"], left, text_rule, f"{where}, {short_repr(name)}")


def _verify_plain(value: object, depth: int, left: list[int], text_rule: dict, where: str) -> None:
    # With anchors, a few lines of YAML can expand without end or contain themselves.
    left[0] -= 1
    if not depth or left[0] < 0:
        raise PortError(f"{where} is nested too deeply or is too long; write plain values")
    if isinstance(value, dict | list):
        for item in [*value, *(value.values() if isinstance(value, dict) else ())]:
            _verify_plain(item, depth - 1, left, text_rule, where)
    elif isinstance(value, str):
        verify_text(value, text_rule, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        verify_number(value, answer_rules()["entry"]["number"], where)
    elif value is not None and not isinstance(value, bool):
        raise PortError(f"{where} holds {short_repr(value)}, which is not a plain value; write text or a number")


def _verify_all(entries: list[dict], answers: dict, where: str) -> None:
    if len({_factory(entry) for entry in entries}) < len(entries):
        raise PortError(
            f"{where}: two entries of checkpoints have the same key, or the same function; give each its own"
        )
    if len({entry.get("max_sequence_length", 0) for entry in entries}) > 1:
        raise PortError(f"{where}: max_sequence_length differs between checkpoints; give every entry the same")
    commands = [entry["cli_name"] for entry in entries if _own_command(entry, answers)]
    if "edit" in answers.get("variants", ()):
        commands.append(f"{answers.get('cli_name')}-edit")
    repeated = next((name for name in commands if commands.count(name) > 1), None)
    if repeated:
        raise PortError(f"{where}: mflux-generate-{repeated} would be two commands; type another cli_name")


def _own_command(entry: dict, answers: dict) -> bool:
    return entry.get("cli_name") not in (None, "", answers.get("cli_name"))


def _factory(entry: dict) -> str:
    return re.sub(r"[^a-z0-9]+", "_", entry["key"])
