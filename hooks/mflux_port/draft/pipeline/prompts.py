"""How a prompt becomes the transformer's input: template, tokens and hidden states.

A pipeline only copies vectors: each token's vector in the transformer's argument is looked up, bit by bit, among all
that the encoders returned. A vector that is not found there was computed, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import NetworkCall, TokenizerCall, Trace


@dataclass(frozen=True)
class Origin:
    """The origin of a vector: the call (numbered per component), the output, the batch row and the token."""

    component: str
    call: int
    output: str
    row: int
    token: int


def tokenization(trace: Trace, prompt: str) -> list[Fact]:
    """One fact per tokenizer: the text around the prompt, and the options with which it is tokenized."""
    facts = []
    for component in dict.fromkeys(call.component for call in trace.tokenizers):
        calls = [call for call in trace.tokenizers if call.component == component and prompt in text_of(call)]
        templated = next((call for call in calls if call.method == "apply_chat_template"), None)
        cut = next((call for call in calls if call.method == "__call__"), templated)
        if cut is None:
            continue
        before, _, after = text_of(cut).partition(prompt)
        value = {"options": plain_options(cut.options)}
        if templated:
            value |= {"chat_template": plain_options(templated.options), "messages": _messages(templated.given, prompt)}
        if before or after:
            value |= {"before": before, "after": after}
        facts.append(Fact(f"tokenization.{component}", value, f"calls of pipe.{component} in a recorded run"))
    return facts


def changed_texts(trace: Trace, prompt: str, known: dict[str, Fact]) -> list[Fact]:
    """The facts about tokenizers that get a text other than ``prompt``: lower case, or an unknown change."""
    facts = []
    for fact in of_prompts(known):
        component = fact.name.partition(".")[2]
        given = [text_of(call) for call in trace.tokenizers if call.component == component]
        if not given or any(prompt in text for text in given):
            continue
        if any(prompt.lower() in text for text in given):
            facts.append(Fact(fact.name, fact.value | {"lower": True}, fact.where))
        else:
            facts.append(Fact(fact.name, None, fact.where, (f"{prompt!r} becomes {given[0]!r}",)))
    return facts


def of_prompts(known: dict[str, Fact]) -> list[Fact]:
    """The facts about tokenizers that get the prompt's text, not only its quoted words."""
    found = [fact for name, fact in known.items() if name.startswith("tokenization.") and fact.value]
    return [fact for fact in found if "quoted" not in fact.value]


def prompt_embeddings(trace: Trace) -> list[Fact]:
    """One fact per argument of the transformer that holds vectors of an encoder."""
    calls = len([call for call in trace.transformers if call.step == 0])
    return [_embedding_fact(name, found, calls) for name, found in explained_prompts(trace).items()]


def of_idle_encoders(trace: Trace, idle: list[str], prompt: str) -> list[Fact]:
    """One fact for each encoder that only ``prompt`` uses: the text and options it gets, and where its vectors go."""
    facts = []
    for encoder in idle:
        tokenizer = f"tokenizer{encoder.removeprefix('text_encoder')}"
        calls = [call for call in trace.tokenizers if call.component == tokenizer]
        places = {
            name: block["states"]
            for name, layers in explained_prompts(trace).items()
            for entry in layers[0]
            for block in (blocks_of(entry) if entry else ())
            if encoder in block["from"]
        }
        if calls and places:
            value = {
                "prompt": prompt,
                "text": text_of(calls[0]),
                "options": plain_options(calls[0].options),
                "gives": places,
            }
            facts.append(Fact(f"quoted.{encoder}", value, "a run with quoted words in the prompt"))
    return facts


def explained_prompts(trace: Trace) -> dict[str, list[list[dict | None]]]:
    """For each argument of the transformer, where the vectors of each prompt come from, for each layer of each call.

    Each block of vectors has the number of its ``tokens``, and ``from``: each encoder's call and row of its batch.
    """
    known = _origins(trace.encoders)
    calls = [call for call in trace.transformers if call.step == 0]
    arguments = {}
    for name in calls[0].arguments:
        layers = [layer for call in calls for layer in _layers(call.arguments.get(name))]
        found = [[_explained(row, known) for row in rows] for rows in layers]
        if any(entry for rows in found for entry in rows):
            arguments[name] = found
    return arguments


def _embedding_fact(name: str, found: list[list[dict | None]], calls: int) -> Fact:
    where = f"vectors of {name}, looked up in what the encoders returned"
    order = [entry and {key: at for block in blocks_of(entry) for key, at in block["from"].items()}
             for rows in found for entry in rows]  # fmt: skip
    found = [[entry and _without_places(entry) for entry in rows] for rows in found]
    prompts = [entry for rows in found for entry in rows]
    value = next(filter(None, prompts))
    if None in prompts:
        return Fact(f"prompt.{name}", None, where, (f"{value}, and one prompt of the batch is computed differently",))
    layers = len(found) // calls
    if layers > 1:
        value = {"list": [rows[0] for rows in found[:layers]]}
        order = [found_order for found_order in order[: len(found[0])]]
    return Fact(f"prompt.{name}", value | {"order": order}, where)


def blocks_of(value: dict) -> list[dict]:
    """The blocks of tokens, in order, that make up a prompt's vectors."""
    return value.get("blocks", [value])


def _without_places(entry: dict) -> dict:
    """A prompt without the parts that differ in every run."""
    kept = {key: value for key, value in entry.items() if key not in ("from", "tokens")}
    return kept | ({"blocks": list(map(_without_places, entry["blocks"]))} if "blocks" in entry else {})


def _layers(value) -> Iterator[list]:
    """The prompts of one argument, each as (tokens, …, width); a list of batches gives one for each."""
    if isinstance(value, list):
        items = [item for item in value if getattr(item, "is_floating_point", bool)()]
        if items and all(item.dim() == 2 for item in items):
            yield items
        else:
            for item in value:
                yield from _layers(item)
    elif getattr(value, "is_floating_point", bool)() and value.dim() >= 2:
        yield [row if value.dim() > 2 else row[None] for row in value]


def _origins(encoders: list[NetworkCall]) -> dict[bytes, list[Origin]]:
    """Every vector that an encoder returned, by its bytes."""
    found: dict[bytes, list[Origin]] = {}
    counts: dict[str, int] = {}
    for call in encoders:
        number = counts[call.component] = counts.get(call.component, -1) + 1
        for output, value in _outputs(call.output):
            value = value[None] if value.dim() == 1 else value
            value = value[:, None] if value.dim() == 2 else value
            for row, tokens in enumerate(value):
                for token, vector in enumerate(tokens):
                    origin = Origin(call.component, number, output, row, token)
                    found.setdefault(vector.numpy().tobytes(), []).append(origin)
    return found


def _outputs(output) -> Iterator[tuple[str, object]]:
    """Floating tensors of up to three axes with the names by which a pipeline reads them, hidden
    states from the end.
    """
    if not isinstance(output, dict):
        output = dict(enumerate(output)) if isinstance(output, list) else {"output": output}
    for name, value in output.items():
        if isinstance(value, list) and name in ("hidden_states", 2, 1) and all(hasattr(item, "dim") for item in value):
            for index, state in enumerate(value):
                yield f"hidden_states[{index - len(value)}]", state
        elif getattr(value, "is_floating_point", bool)() and 1 <= value.dim() <= 3:
            yield str(name), value


def _explained(row, known: dict[bytes, list[Origin]]) -> dict | None:
    """Which outputs the vectors of one prompt come from, how they are joined, and which tokens were kept."""
    if row.dim() == 3:
        return _stacked(row, known)
    interleaved = _interleaved(row, known)
    if interleaved:
        return interleaved
    blocks, token = [], 0
    filled = [bool(vector.any()) for vector in row]
    end = len(filled) - filled[::-1].index(True) if any(filled) else 0
    while token < end:
        block = _block(row[token:end], known)
        if block is None:
            return None
        blocks.append(block)
        token += block["tokens"]
    if not blocks:
        return None
    padding = {"zeros_after": True} if end < len(row) else {}
    return ({"blocks": blocks} if len(blocks) > 1 else blocks[0]) | padding


def _stacked(row, known: dict[bytes, list[Origin]]) -> dict | None:
    for axis in (1, 0):
        found = [_explained(part, known) for part in row.unbind(axis)]
        if _are_plain(found):
            states = [state for entry in found for state in entry["states"]]
            return found[0] | {"states": states, "joined": f"stacked on axis {axis}"}
    return None


def _interleaved(row, known: dict[bytes, list[Origin]]) -> dict | None:
    for size in {len(key) // 4 for key in known}:
        count = row.shape[1] // size
        if count < 2 or row.shape[1] % size:
            continue
        found = [_explained(row[:, index::count], known) for index in range(count)]
        if _are_plain(found):
            return found[0] | {"states": [s for entry in found for s in entry["states"]], "joined": "interleaved"}
    return None


def _are_plain(found: list[dict | None]) -> bool:
    return bool(found) and all(entry is not None and "states" in entry for entry in found)


def _block(rows, known: dict[bytes, list[Origin]]) -> dict | None:
    """The tokens at the start of ``rows`` that consist of the same outputs side by side."""
    sizes = _segments(rows[0], known)
    if not sizes:
        return None
    parts = [_same_output(rows[:, at : at + size], known) for at, size in sizes]
    places = {component: place for part in parts for component, *place in [part["from"]]}
    if any(
        part["from"] != [part["from"][0], *places[part["from"][0]]] or part["first"] != parts[0]["first"]
        for part in parts
    ):
        return None  # the vectors come from two prompts, or from other tokens
    count = min(part["tokens"] for part in parts)
    block = {"states": [part["state"] for part in parts]}
    if len(parts) > 1:
        block["joined"] = "concatenated"
    if sizes[-1][0] + sizes[-1][1] < rows.shape[1]:
        block["zeros_behind"] = rows.shape[1] - sum(sizes[-1])
    if parts[0]["first"]:
        block["first_token"] = parts[0]["first"]
    return block | {"tokens": count, "from": places}


def _segments(vector, known: dict[bytes, list[Origin]]) -> list[tuple[int, int]] | None:
    """Where vectors of the encoders are in ``vector``, as (start, size); zeros may follow them."""
    sizes, at, found = sorted({len(key) // 4 for key in known}, reverse=True), 0, []
    while at < len(vector) and vector[at:].any():
        size = next((size for size in sizes if vector[at : at + size].numpy().tobytes() in known), None)
        if size is None:
            return None
        found.append((at, size))
        at += size
    return found


def _same_output(part, known: dict[bytes, list[Origin]]) -> dict:
    """The output that holds the most of the first vectors of ``part``, in token order."""
    best: dict = {"tokens": 0}
    for start in known[part[0].numpy().tobytes()]:
        count = 0
        for offset, vector in enumerate(part):
            wanted = Origin(start.component, start.call, start.output, start.row, start.token + offset)
            if wanted not in known.get(vector.numpy().tobytes(), ()):
                break
            count += 1
        if (count, _is_pooled(start)) > (best["tokens"], best.get("pooled", False)):
            best = {"tokens": count, "state": f"{start.component}.{start.output}", "first": start.token}
            best |= {"pooled": _is_pooled(start), "from": [start.component, start.call, start.row]}
    return best


def _is_pooled(origin: Origin) -> bool:
    # A pooled vector is also one token of the last hidden state; the pooled output is what a pipeline uses.
    return is_pooled(origin.output)


def is_pooled(output: str) -> bool:
    """Whether an encoder's output of that name is one vector for the whole prompt."""
    return "pool" in output or "embeds" in output


def text_of(call: TokenizerCall) -> str:
    """The text that a tokenizer was given; the first of several."""
    given = call.given
    while isinstance(given, list) and given and not isinstance(given[0], dict):
        given = given[0]
    if isinstance(given, list):
        return "\n".join(_content(message) for message in given)
    return given if isinstance(given, str) else ""


def _content(message: dict) -> str:
    content = message.get("content", "")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return str(content)


def _messages(given, prompt: str) -> list[dict]:
    while isinstance(given, list) and given and isinstance(given[0], list):
        given = given[0]
    return [
        {"role": message["role"], "content": _content(message).replace(prompt, "{prompt}")}
        for message in given
        if isinstance(message, dict)
    ]


def plain_options(options: dict) -> dict:
    """The options of a tokenizer's call that can be written as literals."""
    simple = (str, int, float, bool, type(None))
    return {name: value for name, value in options.items() if isinstance(value, simple) and name != "text"}
