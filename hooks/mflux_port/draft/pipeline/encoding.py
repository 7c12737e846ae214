"""From token ids to the prompt's vectors: which ids and mask the encoder gets, and which of its vectors are kept."""

from __future__ import annotations

from dataclasses import dataclass

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import Trace


@dataclass(frozen=True)
class Prompt:
    """The conditional prompt of a run: the transformer's argument with its vectors, and where they come from."""

    argument: str
    call: int
    row: int
    count: int  # vectors that the transformer gets
    first: int  # the first token whose vector is kept
    ids: list[int]
    given_mask: list[int] | None
    tokenizer_ids: list[int]
    tokenizer_mask: list[int]

    @property
    def mask(self) -> list[int]:
        """Which of the kept vectors belong to tokens of the prompt."""
        whole = self.given_mask or ([0] * (len(self.ids) - len(self.tokenizer_mask)) + self.tokenizer_mask)
        kept = whole[self.first : self.first + self.count]
        return kept + [0] * (self.count - len(kept))


def find_prompt(trace: Trace, facts: dict[str, Fact]) -> Prompt | None:
    """The conditional prompt; None without exactly one argument that holds vectors of one encoder."""
    names = [name for name in facts if name.startswith("prompt.")]
    fact = facts[names[0]] if len(names) == 1 else None
    if fact is None or not fact.is_decided or "states" not in fact.value:
        return None
    guided = facts["guidance"].value if "guidance" in facts and facts["guidance"].value else {}
    place = guided.get("conditional", 0)
    call, row = divmod(place, guided.get("batch", 1))
    component, number, encoder_row = fact.value["order"][place]
    encoder = [entry for entry in trace.encoders if entry.component == component][number]
    argument = names[0].removeprefix("prompt.")
    calls = [entry for entry in trace.transformers if entry.step == 0]
    vectors = calls[call].arguments[argument]
    ids = _whole(encoder.arguments.get("input_ids"), encoder_row)
    mask = _whole(encoder.arguments.get("attention_mask"), encoder_row)
    if ids is None:
        return None
    tokens, tokenizer_mask = _tokenized(trace, ids)
    return Prompt(
        argument, call, row, vectors[row].shape[-2], fact.value.get("first_token", 0), ids, mask, tokens, tokenizer_mask
    )


def encoding(prompt: Prompt, other: Prompt, state: dict) -> Fact:
    """How the ids are padded, whether the encoder gets a mask, and which vectors are kept.

    ``other``: the prompt of a run with a longer text; ``state``: the value of the fact on the prompt's vectors.
    """
    where = "ids, mask and vectors of two prompts of different lengths"
    value = {"mask": prompt.given_mask is not None, "first": prompt.first}
    problems = []
    if prompt.ids != prompt.tokenizer_ids:
        multiples = _multiples(prompt) & _multiples(other)
        if not multiples:
            problems.append(f"{len(prompt.ids)} ids are encoded, {len(prompt.tokenizer_ids)} come from the tokenizer")
        else:
            value["pad_before"] = {"multiple": min(multiples), "id": prompt.ids[0]}
    keeps = [_kept(entry, bool(state.get("zeros_after"))) for entry in (prompt, other)]
    if None in keeps or keeps[0] != keeps[1]:
        problems.append(f"{prompt.count} vectors of {len(prompt.ids)} ids, {other.count} of {len(other.ids)}")
    else:
        value |= keeps[0]
    return Fact("encoding", None if problems else value, where, tuple(problems))


def _multiples(prompt: Prompt) -> set[int]:
    """The numbers that the padded length may be a multiple of, by one id before the tokenizer's; empty if none."""
    ahead = len(prompt.ids) - len(prompt.tokenizer_ids)
    if ahead < 0 or prompt.ids[ahead:] != prompt.tokenizer_ids or len(set(prompt.ids[:ahead])) > 1:
        return set()
    return {size for size in (8, 16, 32, 64) if -len(prompt.tokenizer_ids) % size == ahead}


def _kept(prompt: Prompt, zeros: bool) -> dict | None:
    whole = prompt.given_mask or [1] * len(prompt.ids)
    tokens = sum(whole) - sum(whole[: prompt.first])
    if prompt.count == len(prompt.ids) - prompt.first and (tokens == prompt.count or not zeros):
        return {"keep": "all"}
    if prompt.count == len(prompt.ids) - prompt.first:
        return {"keep": "all", "zeros": "padding"}
    if prompt.count == tokens or zeros:
        # Zeros after the prompt's vectors only make prompts in a batch equally long.
        return {"keep": "tokens"}
    return None


def _whole(value, row: int) -> list[int] | None:
    return [int(number) for number in value[row].reshape(-1).tolist()] if getattr(value, "dim", int)() == 2 else None


def _tokenized(trace: Trace, ids: list[int]) -> tuple[list[int], list[int]]:
    """The ids and mask of the tokenizer that end like ``ids``; ``ids`` themselves when no tokenizer gave them."""
    for call in trace.tokenizers:
        given = getattr(call.result, "input_ids", None)
        rows = given.tolist() if hasattr(given, "tolist") else given if isinstance(given, list) else []
        masks = getattr(call.result, "attention_mask", None)
        masks = (
            masks.tolist() if hasattr(masks, "tolist") else [[1] * len(row) for row in rows if isinstance(row, list)]
        )
        for row, mask in zip(rows, masks, strict=False):
            if isinstance(row, list) and row and ids[-len(row) :] == row:
                return row, mask
    return ids, [1] * len(ids)
