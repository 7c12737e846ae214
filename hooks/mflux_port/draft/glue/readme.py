"""The notes of a port's README that follow from the facts of the pipeline."""

from __future__ import annotations

import re

_SIZES = re.compile(r"(?m)^- Width and height are multiples of \d+\.$")


def with_notes(source: str, facts: dict[str, dict], multiple: int) -> str:
    """The README with notes on prompt and guidance after the line about sizes; unchanged if that line is missing."""
    notes = [f"- Width and height are multiples of {multiple}.", *_prompt(facts), *_guidance(facts)]
    if all(note in source for note in notes):
        return source
    return _SIZES.sub(lambda _: "\n".join(notes), source, count=1)


def _prompt(facts: dict[str, dict]) -> list[str]:
    tokens = [fact["value"] for name, fact in facts.items() if name.startswith("tokenization.") and fact["value"]]
    if len(tokens) != 1:
        return []
    longest = tokens[0].get("options", {}).get("max_length")
    text = f"A prompt is cut after {longest} tokens" if longest else "A prompt may have any length"
    around = tokens[0].get("before") or tokens[0].get("after")
    return [f"- {text}{', with the text that the model was trained with around it' if around else ''}."]


def _guidance(facts: dict[str, dict]) -> list[str]:
    formula = (facts.get("guidance", {}).get("value") or {}).get("formula", "")
    negative = facts.get("negative", {}).get("value")
    if "conditional" not in formula or not negative:
        return []
    when = {"guidance > 0": "above 0", "guidance > 1": "above 1"}.get(negative["guided"], "other than 1")
    needs = " and with a negative prompt" if negative["default"] is None else ""
    return [f"- Guidance is `{formula}`, {when}{needs}."]
