"""The encoder that gets only the quoted words of a prompt: how its text follows from them."""

from __future__ import annotations

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.prompts import plain_options, text_of
from mflux_port.draft.pipeline.watch import Intervention, TokenizerCall, Trace, run

PAIRS = [("'", "'"), ('"', '"'), ("‘", "’"), ("“", "”"), ("«", "»"), ("「", "」"), ("『", "』"), ("《", "》")]
_WORD = "OPEN"
REFUSALS = RuntimeError, ValueError, IndexError  # of a text that a twin's network cannot encode


def idle_encoders(pipe, traces: list[Trace]) -> list[str]:
    """The text encoders of a pipeline that none of these runs used."""
    used = {call.component for trace in traces for call in trace.encoders}
    names = [name for name, part in pipe.components.items() if name.startswith("text_encoder") and part is not None]
    return [name for name in names if name not in used]


def quoted_words(pipe, call: dict, encoder: str) -> Fact | None:
    """How the text that ``encoder`` gets follows from the quoted words; None if no quoted words reach it.

    ``call``: the pipeline's call, with a prompt that quotes nothing. The fact has no value if the text follows no known
    rule.
    """
    runs = {pair: _run(pipe, call, f"a sign that says {_quoted(pair, _WORD)}") for pair in PAIRS}
    tokenizer = f"tokenizer{encoder.removeprefix('text_encoder')}"
    found = {pair: cut for pair, trace in runs.items() if (cut := _cut(trace, tokenizer)) and _WORD in text_of(cut)}
    if not found:
        return None
    name, where = f"tokenization.{tokenizer}", "runs with quoted words in the prompt, and one without"
    cut = next(iter(found.values()))
    before, _, after = text_of(cut).partition(_WORD)
    words = [(pair, f"{_WORD}{number}{part}") for part in "AB" for number, pair in enumerate(reversed(list(found)))]
    prompt = " ".join(_quoted(pair, word) for pair, word in words)
    text = text_of(_cut(_run(pipe, call, prompt), tokenizer))
    order = sorted(found, key=lambda pair: min(text.find(word) for own, word in words if own == pair))
    expected = "".join(before + word + after for pair in order for own, word in words if own == pair)
    if text != expected:
        return Fact(name, None, where, (f"for {prompt!r} it encodes {text!r}",))
    if not _is_zeros(_run(pipe, call, call["prompt"]), runs[order[0]]):
        return Fact(name, None, where, ("what the transformer gets without quoted words is not zeros",))
    value = {"options": plain_options(cut.options), "quoted": [list(pair) for pair in order]}
    return Fact(name, value | {"before": before, "after": after}, where)


def _run(pipe, call: dict, prompt: str) -> Trace:
    return run(pipe, call | {"prompt": prompt}, Intervention(stop_at_transformer=True), ends=REFUSALS)


def _quoted(pair: tuple[str, str], word: str) -> str:
    return f"{pair[0]}{word}{pair[1]}"


def _cut(trace: Trace, tokenizer: str) -> TokenizerCall | None:
    calls = (call for call in trace.tokenizers if call.component == tokenizer and call.method == "__call__")
    return next(calls, None)


def _is_zeros(without: Trace, with_words: Trace) -> bool:
    """Whether the arguments that only quoted words fill are zeros of the same shape without them."""
    if not without.transformers or not with_words.transformers:
        return False
    ours, theirs = (trace.transformers[0].arguments for trace in (without, with_words))
    if ours.keys() != theirs.keys():
        return False
    pairs = [(ours[name], value) for name, value in theirs.items() if hasattr(value, "any")]
    if not all(hasattr(one, "any") and one.shape == other.shape for one, other in pairs):
        return False
    return any(other.any() and not one.any() for one, other in pairs)
