"""What ``encode_prompt`` returns: one array, or a tuple of the transformer's arguments about the
prompt and their mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from mflux_port.draft.pipeline.prompts import blocks_of, is_pooled


@dataclass(frozen=True)
class PromptEmbeds:
    """``arguments`` are the transformer's, in its order; ``main`` is the one with a vector for each token.

    ``with_mask``: the mask of ``main`` is returned; ``masked``: further arguments whose masks are.
    """

    arguments: tuple[str, ...] = ("prompt_embeds",)
    main: str = "prompt_embeds"
    with_mask: bool = False
    masked: tuple[str, ...] = ()

    @property
    def annotation(self) -> str:
        """The type of the whole result."""
        count = len(self.arguments) + len(self.masks)
        return f"tuple[{', '.join(['mx.array'] * count)}]" if count > 1 else "mx.array"

    @property
    def masks(self) -> list[str]:
        """The local names of the masks, in the order in which they are returned."""
        return [*(["mask"] if self.with_mask else []), *map(self.mask_of, self.masked)]

    def mask_of(self, argument: str) -> str:
        """The local name of an argument's mask; empty if it is not returned."""
        if argument in self.masked:
            return f"mask_of_{argument}"
        return "mask" if argument == self.main and self.with_mask else ""

    def name(self, argument: str) -> str:
        """The local name of an argument's array."""
        if len(self.arguments) > 1:
            return argument
        return "embeddings" if self.with_mask else "prompt_embeds"

    @property
    def main_name(self) -> str:
        return self.name(self.main)

    def unpacking(self, words: set[str]) -> list[str]:
        """The line that defines the names that occur in ``words``; none if there is only one array."""
        names = [*map(self.name, self.arguments), *self.masks]
        if len(names) == 1 or not words & set(names):
            return []
        return [f"{', '.join(name if name in words else '_' for name in names)} = prompt_embeds"]


def prompt_embeds(facts: dict[str, dict]) -> PromptEmbeds:
    """Read it from the facts."""
    found = {name.removeprefix("prompt."): fact["value"] for name, fact in facts.items() if name.startswith("prompt.")}
    names = list(found)
    tokens = [name for name, value in found.items() if value and not is_of_pooled(value)]
    if not names:
        return PromptEmbeds()
    main = (tokens or names)[0]
    rules = facts.get("arguments", {}).get("value") or {}
    masked = dict.fromkeys(rule["of"] for rule in rules.values() if rule and rule["is"] == "text mask" and "of" in rule)
    return PromptEmbeds(tuple(names), main, _has_mask(facts, main), tuple(masked))


def is_of_pooled(value: dict) -> bool:
    """Whether an argument has one vector for a whole prompt."""
    return all(is_pooled(state.partition(".")[2]) for block in blocks_of(value) for state in block.get("states", ("",)))


def tokenization(facts: dict[str, dict], encoding: dict) -> dict:
    """How an encoder's tokenizer splits a text, by the value of the fact about its encoding."""
    return facts.get(f"tokenization.{encoding.get('tokenizer')}", {}).get("value") or {}


def encoders_of(value: dict) -> list[str]:
    """The encoders that an argument's vectors come from, in order."""
    return list(
        dict.fromkeys(state.partition(".")[0] for block in blocks_of(value) for state in block.get("states", ()))
    )


def _has_mask(facts: dict[str, dict], main: str) -> bool:
    """Whether there is padding whose mask the transformer gets."""
    encoders = encoders_of(facts[f"prompt.{main}"]["value"] or {})
    value = (facts.get(f"encoding.{encoders[0]}", {}).get("value") or {}) if len(encoders) == 1 else {}
    options = tokenization(facts, value).get("options", {})
    is_padded = options.get("padding") == "max_length" or options.get("pad_to_multiple_of")
    padded = value.get("keep") == "all" and bool(is_padded)
    return padded and gets_mask(facts)


def gets_mask(facts: dict[str, dict]) -> bool:
    """Whether the transformer is told which of the prompt's vectors are padding."""
    return _mentions(facts.get("arguments", {}).get("value") or {})


def _mentions(rules) -> bool:
    if isinstance(rules, dict):
        own = rules.get("is") == "text mask" and not rules.get("all") and "of" not in rules
        return own or any(map(_mentions, rules.values()))
    return any(map(_mentions, rules)) if isinstance(rules, list) else rules == "tokens"
