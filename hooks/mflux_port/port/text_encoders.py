"""The answers ``text_encoders`` and ``folders``: which text encoders a port has, and where the checkpoint keeps its
parts.
"""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.errors import PortError, short_repr
from mflux_port.port.answer_rules import answer_rules, choices, verify_text

PARTS = ("transformer", "vae")
_FIELDS = ("kind", "folder", "tokenizer")
# Facts about mflux's classes, by the answer that chooses them.
WITHOUT_MASK = ("t5", "clip")  # their call takes no mask, so they see the padding
OF_FIXED_SIZE = ("t5", "clip")  # their sizes are in their code, so the tests replace them by a small class


def part_of(name: str) -> str:
    """The kind of a port's component: transformer, vae, or text_encoder (also for text_encoder_2 and so on)."""
    return "text_encoder" if name.startswith("text_encoder") else name


class TextEncoder(NamedTuple):
    """One text encoder of a port. ``name`` is the port's own: text_encoder, text_encoder_2 and so on.

    ``kind`` is an answer to the question ``text_encoder``; ``folder`` and ``tokenizer`` are folders of the checkpoint.
    """

    name: str
    kind: str
    folder: str
    tokenizer: str


def text_encoders(answers: dict) -> tuple[TextEncoder, ...]:
    """The text encoders that verified answers name. Answers of an older template have no list, and one text encoder."""
    return tuple(
        TextEncoder(
            name=f"text_encoder{suffix}",
            kind=entry.get("kind", answers["text_encoder"]),
            folder=entry.get("folder", f"text_encoder{suffix}"),
            tokenizer=entry.get("tokenizer", f"tokenizer{suffix}"),
        )
        for suffix, entry in _with_suffixes(answers.get("text_encoders", [{}]))
    )


def part_folders(answers: dict) -> dict[str, str]:
    """The checkpoint's folders of the transformer and the VAE, by the port's name for the part."""
    return {part: part for part in PARTS} | answers.get("folders", {})


def verify_text_encoders(answers: dict, where: str) -> None:
    """Raise PortError if a question would refuse the text encoders, the folders, or the parts that
    are not quantized.
    """
    entries = answers.get("text_encoders", [{}])
    most = len(answer_rules()["entry"]["encoders"])
    if not isinstance(entries, list) or not 0 < len(entries) <= most:
        raise PortError(
            f"{where}: text_encoders is {short_repr(entries)}; write a list of 1 to {most}, such as [{{kind: t5}}]"
        )
    for number, entry in enumerate(entries, 1):
        _verify_entry(entry, number, answers.get("text_encoder"), f"{where}: entry {number} of text_encoders")
    _verify_folders(answers, where)
    _verify_not_quantized(answers, where)


def verify_sizes(answers: dict, where: str) -> None:
    """Raise PortError unless text_encoder_overrides are the sizes of one text encoder, or a table
    for each of several.
    """
    rules = answer_rules()["entry"]["encoders"]
    names = rules[: len(answers.get("text_encoders", [{}]))]
    for entry in answers["checkpoints"]:
        given = entry.get("text_encoder_overrides") or {}
        named = f"{where}: text_encoder_overrides of {entry['key']}"
        nested = [name for name in given if name in rules]
        if len(names) == 1 and nested:
            raise PortError(
                f"{named} has a table for {nested[0]}, and there is one text encoder; write its sizes alone"
            )
        if len(names) > 1 and any(name not in names for name in given):
            raise PortError(f"{named} must have a table for each text encoder; write {names[1]}: {{…}}")


def _verify_entry(entry: object, number: int, first: object, where: str) -> None:
    if not isinstance(entry, dict) or any(name not in _FIELDS for name in entry):
        raise PortError(f"{where} is {short_repr(entry)}; write kind, folder and tokenizer, nothing else")
    if number > 1 and "kind" not in entry:
        raise PortError(f"{where} has no kind; write one of {', '.join(choices('text_encoder'))}")
    if number == 1 and entry.get("kind", first) != first:
        raise PortError(f"{where} is the text encoder {first}; leave its kind out")
    if number > 1 and entry["kind"] not in choices("text_encoder"):
        raise PortError(
            f"{where}, kind, is {short_repr(entry['kind'])}; write one of {', '.join(choices('text_encoder'))}"
        )
    for name in ("folder", "tokenizer"):
        verify_text(entry.get(name, name), answer_rules()["folder"], f"{where}, {name}")


def _verify_folders(answers: dict, where: str) -> None:
    folders = answers.get("folders", {})
    if not isinstance(folders, dict) or any(part not in PARTS for part in folders):
        raise PortError(f"{where}: folders is {short_repr(folders)}; write a mapping such as {{transformer: unet}}")
    for part, folder in folders.items():
        verify_text(folder, answer_rules()["folder"], f"{where}: the folder of {part}")
    encoders = [
        entry.get("folder", f"text_encoder{suffix}")
        for suffix, entry in _with_suffixes(answers.get("text_encoders", [{}]))
    ]
    places = [*part_folders(answers).values(), *encoders]
    shared = next((folder for folder in places if places.count(folder) > 1), None)
    if shared is not None:
        raise PortError(f"{where}: two parts have the folder {shared}; give each its own")


def _verify_not_quantized(answers: dict, where: str) -> None:
    given = answers.get("skip_quantization", [])
    parts = ["vae", *answer_rules()["entry"]["encoders"][: len(answers.get("text_encoders", [{}]))]]
    if not isinstance(given, list) or any(part not in parts for part in given):
        raise PortError(f"{where}: skip_quantization is {short_repr(given)}; write a list of {', '.join(parts)}, or []")


def _with_suffixes(entries: list[dict]) -> list[tuple[str, dict]]:
    return [("" if number == 1 else f"_{number}", entry) for number, entry in enumerate(entries, 1)]
