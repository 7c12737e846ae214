"""How token ids become the prompt's vectors: the ids and mask that the encoder gets, and the vectors that are kept."""

from __future__ import annotations

from dataclasses import dataclass

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.prompts import blocks_of, explained_prompts, is_pooled
from mflux_port.draft.pipeline.watch import Trace

# The twin's id of padding is 0, which a pipeline may also mean as a number.
_SPECIAL = "bos_token_id", "eos_token_id", "unk_token_id"


@dataclass(frozen=True)
class Prompt:
    """The conditional prompt of a run as one encoder sees it, and which of its vectors one argument of the transformer
    has.
    """

    argument: str
    encoder: str
    block: int  # the number of the argument's block of tokens
    call: int  # the transformer's call, and the row of its batch
    row: int
    count: int  # vectors that the transformer gets from this encoder
    first: int  # the first token whose vector is kept
    is_pooled: bool  # one vector for the whole prompt
    ids: list[int]
    given_mask: list[int] | None
    tokenizer: str
    tokenizer_ids: list[int]
    tokenizer_mask: list[int]
    outputs: tuple[str, ...]  # the encoder's results, in order

    @property
    def mask(self) -> list[int]:
        """Which of the kept vectors belong to tokens of the prompt."""
        whole = self.given_mask or ([0] * (len(self.ids) - len(self.tokenizer_mask)) + self.tokenizer_mask)
        kept = whole[self.first : self.first + self.count]
        return kept + [0] * (self.count - len(kept))


def find_prompts(trace: Trace, facts: dict[str, Fact]) -> list[Prompt]:
    """The conditional prompt for each argument that holds its vectors and each encoder; empty if
    one is not understood.
    """
    names = [name for name in facts if name.startswith("prompt.")]
    if not all(facts[name].is_decided and "list" not in facts[name].value for name in names):
        return []
    guided = facts["guidance"].value if "guidance" in facts and facts["guidance"].value else {}
    place, explained, found = guided.get("conditional", 0), explained_prompts(trace), []
    for name in (name.removeprefix("prompt.") for name in names):
        entries = [entry for rows in explained.get(name, ()) for entry in rows]
        entry = entries[place] if place < len(entries) else None
        if entry is None or [block["states"] for block in blocks_of(entry)] != _states(facts[f"prompt.{name}"].value):
            return []
        at = divmod(place, guided.get("batch", 1))
        if "blocks" not in entry and not is_pooled(entry["states"][0].partition(".")[2]):
            entry["tokens"] = _count(trace, name, at)  # including zeros that may follow
        for number, block in enumerate(blocks_of(entry)):
            found += [_prompt(trace, name, number, at, block, encoder) for encoder in block["from"]]
    return found if None not in found else []


def _count(trace: Trace, argument: str, at: tuple[int, int]) -> int:
    calls = [entry for entry in trace.transformers if entry.step == 0]
    return calls[at[0]].arguments[argument][at[1]].shape[-2]


def _states(value: dict) -> list[list[str]]:
    return [block["states"] for block in blocks_of(value)]


def _prompt(trace: Trace, argument: str, number: int, at: tuple[int, int], block: dict, encoder: str) -> Prompt | None:
    of_encoder, row = block["from"][encoder]
    call = [entry for entry in trace.encoders if entry.component == encoder][of_encoder]
    ids = _whole(call.arguments.get("input_ids"), row)
    if ids is None:
        return None
    mask = _whole(call.arguments.get("attention_mask"), row)
    tokenizer, tokens, tokenizer_mask = _tokenized(trace, ids, encoder)
    names = tuple(call.output) if isinstance(call.output, dict) else ()
    states = [state for state in block["states"] if state.startswith(f"{encoder}.")]
    return Prompt(
        argument, encoder, number, *at, block["tokens"], block.get("first_token", 0), is_pooled(states[0].partition(".")[2]),
        ids, mask, tokenizer, tokens, tokenizer_mask, names,
    )  # fmt: skip


def encodings(prompts: list[Prompt], others: list[Prompt], facts: dict[str, Fact]) -> list[Fact]:
    """One fact for each encoder.

    ``others`` are those of a run with a longer text; ``facts`` has those about the prompt's vectors.
    """
    pairs = list(zip(prompts, others, strict=True))
    found = []
    for encoder in dict.fromkeys(prompt.encoder for prompt in prompts):
        own = [pair for pair in pairs if pair[0].encoder == encoder]
        # Vectors for single tokens reveal more than one vector for the whole prompt.
        prompt, other = next((pair for pair in own if not pair[0].is_pooled), own[0])
        found.append(_encoding(prompt, other, bool(facts[f"prompt.{prompt.argument}"].value.get("zeros_after"))))
    return found


def _encoding(prompt: Prompt, other: Prompt, zeros: bool) -> Fact:
    """How the ids are padded, whether the encoder gets a mask, and which vectors are kept."""
    where = "ids, mask and vectors of two prompts of different lengths"
    value = {"tokenizer": prompt.tokenizer, "mask": prompt.given_mask is not None, "first": prompt.first}
    value |= {"outputs": list(prompt.outputs)} if len(prompt.outputs) > 1 else {}
    problems = []
    if prompt.ids != prompt.tokenizer_ids:
        multiples = _multiples(prompt) & _multiples(other)
        if not multiples:
            problems.append(f"{len(prompt.ids)} ids are encoded, {len(prompt.tokenizer_ids)} come from the tokenizer")
        else:
            value["pad_before"] = {"multiple": min(multiples), "id": prompt.ids[0]}
    keeps = [_kept(entry, zeros) for entry in (prompt, other)]
    if None in keeps or keeps[0] != keeps[1]:
        problems.append(f"{prompt.count} vectors of {len(prompt.ids)} ids, {other.count} of {len(other.ids)}")
    else:
        value |= keeps[0] | _fixed_length(prompt, other)
    return Fact(f"encoding.{prompt.encoder}", None if problems else value, where, tuple(problems))


def _multiples(prompt: Prompt) -> set[int]:
    """The numbers of which the padded length may be a multiple, by the id that precedes the tokenizer's; empty if there
    are none.
    """
    ahead = len(prompt.ids) - len(prompt.tokenizer_ids)
    if ahead < 0 or prompt.ids[ahead:] != prompt.tokenizer_ids or len(set(prompt.ids[:ahead])) > 1:
        return set()
    return {size for size in (8, 16, 32, 64) if -len(prompt.tokenizer_ids) % size == ahead}


def _kept(prompt: Prompt, zeros: bool) -> dict | None:
    if prompt.is_pooled:
        return {"keep": "pooled"}
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


def _fixed_length(prompt: Prompt, other: Prompt) -> dict:
    """The number of vectors to which zeros pad, if it is the same for prompts of every length."""
    same = prompt.count == other.count and not prompt.is_pooled
    is_filled = all(entry.count > len(entry.ids) - entry.first for entry in (prompt, other))
    return {"pad_to": prompt.count} if same and is_filled else {}


def _whole(value, row: int) -> list[int] | None:
    return [int(number) for number in value[row].reshape(-1).tolist()] if getattr(value, "dim", int)() == 2 else None


def _tokenized(trace: Trace, ids: list[int], encoder: str) -> tuple[str, list[int], list[int]]:
    """The tokenizer, and its ids and mask, that end like ``ids``; ``ids`` themselves when no tokenizer gave them.

    Among tokenizers that give the same ids, it is the one with the encoder's number.
    """
    number = encoder.removeprefix("text_encoder")
    for call in sorted(trace.tokenizers, key=lambda call: call.component != f"tokenizer{number}"):
        rows = _rows(getattr(call.result, "input_ids", None))
        masks = _rows(getattr(call.result, "attention_mask", None)) or [[1] * len(row) for row in rows]
        for row, mask in zip(rows, masks, strict=False):
            if row and ids[-len(row) :] == row:
                return call.component, row, mask
    return "", ids, [1] * len(ids)


def of_empty_text(trace: Trace, components: dict) -> list[Fact]:
    """The id that an encoder gets if its tokenizer gives none for an empty text; no fact if it gives one.

    ``trace``: a run that encodes an empty text; ``components``: of the pipeline, by name.
    """
    facts = []
    for call in trace.tokenizers:
        if call.given not in ("", [""]) or any(_rows(getattr(call.result, "input_ids", None))):
            continue
        encoder = f"text_encoder{call.component.removeprefix('tokenizer')}"
        given = [_whole(entry.arguments.get("input_ids"), 0) for entry in trace.encoders if entry.component == encoder]
        alone = next((ids[0] for ids in given if ids and len(ids) == 1), None)
        if alone is not None:
            # A twin's tokenizer has other ids than the checkpoint's: an id of its special tokens is a name.
            tokenizer = components.get(call.component)
            value = {"id": next((name for name in _SPECIAL if alone == getattr(tokenizer, name, None)), alone)}
            facts.append(Fact(f"empty_text.{encoder}", value, "a run without a negative prompt"))
    return facts


def _rows(given) -> list[list[int]]:
    """What a tokenizer returned, as one list for each text; for a single text it may be that list alone."""
    found = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(found, list) or not found:
        return []
    return [row for row in found if isinstance(row, list)] if isinstance(found[0], list) else [found]
