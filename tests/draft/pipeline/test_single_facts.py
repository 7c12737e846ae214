"""What single facts say, without a pipeline: from traces written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from mflux_port.draft.pipeline import negative
from mflux_port.draft.pipeline.arguments import Transformer, View, arguments
from mflux_port.draft.pipeline.encoding import Prompt, encodings
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.of_config import with_origin
from mflux_port.draft.pipeline.prompts import changed_texts
from mflux_port.draft.pipeline.watch import NetworkCall, TokenizerCall, Trace


class Array(np.ndarray):
    """An array with torch's method for the number of axes."""

    def dim(self) -> int:
        return self.ndim

    def is_complex(self) -> bool:
        return self.dtype.kind == "c"


def prompt(tokens: int, count: int) -> Prompt:
    ids = list(range(1, tokens + 1))
    return Prompt("states", "text_encoder", 0, 0, 1, count, 0, False, ids, None, "tokenizer", ids, [1] * tokens, ())


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ((8, 8), {"keep": "tokens", "pad_to": 8}),  # every prompt has that many vectors
        ((6, 7), {"keep": "tokens"}),  # as many as the longest prompt of the batch
        ((3, 5), {"keep": "all"}),
    ],
)
def test_zeros_after_the_vectors_of_every_prompt_have_a_length(counts, kept):
    facts = {"prompt.states": Fact("prompt.states", {"zeros_after": counts != (3, 5)}, "")}
    [fact] = encodings([prompt(3, counts[0])], [prompt(5, counts[1])], facts)
    assert {name: fact.value[name] for name in ("keep", "pad_to") if name in fact.value} == kept


@pytest.mark.parametrize(
    ("length", "fill", "default"), [(8, 0.0, {"default": "", "zeros": True}), (5, 0.0, None), (8, 1.0, None)]
)
def test_the_unconditional_prediction_from_zeros(monkeypatch, length, fill, default):
    """Only a number that every prompt has counts: a number that depends on this prompt would need the prompt."""
    states = np.full((2, length, 4), fill, np.float32).view(Array)
    states[1] = 1.0
    without = Trace(transformers=[NetworkCall("transformer", "transformer", 0, {"states": states})])
    known = {
        "guidance": Fact("guidance", {"conditional": 1, "batch": 2}, ""),
        "prompt.states": Fact("prompt.states", {}, ""),
        "tokenization.tokenizer": Fact("tokenization.tokenizer", {"options": {"max_length": 8}}, ""),
    }
    monkeypatch.setattr(negative, "_predictions", lambda trace: 2 if trace is without else 1)
    fact = negative.negative([Trace(), Trace()], without, "a fox", known, True)
    assert fact.value == (default and {"guided": "guidance > 1"} | default)


def test_a_complex_argument_is_listed_and_the_others_are_still_read():
    table = np.ones((6, 4), np.complex64).view(Array)
    views = [View({"rotary": table, "return_dict": False}, {"height": 2, "width": 3}, 5, [1] * 5, None)] * 2
    fact = arguments(views, {}, Transformer({}, []))
    assert fact.value == {"rotary": None, "return_dict": {"is": "constant", "value": False}}
    assert fact.alternatives == ("rotary: a tensor [6, 4]",)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("Draw a Fox", []),
        ("Draw a fox", [{"options": {}, "lower": True}]),
        ("Draw a wolf", [None]),
    ],
)
def test_a_pipeline_that_changes_the_prompt(text, changes):
    trace = Trace(tokenizers=[TokenizerCall("tokenizer", "__call__", [text], {})])
    known = {"tokenization.tokenizer": Fact("tokenization.tokenizer", {"options": {}}, "")}
    assert [fact.value for fact in changed_texts(trace, "a Fox", known)] == changes


@pytest.mark.parametrize(
    ("value", "twice", "formula"),
    [(4096, 16384, "sample_size**2 // 4"), (256, 512, "2 * sample_size"), (7, 7, ""), (7, 9, None)],
)
def test_a_constant_of_the_pipeline_may_follow_the_sample_size(value, twice, formula):
    rule, other = ({"is": "table", "items": {"base": {"is": "constant", "value": one}}} for one in (value, twice))
    found = with_origin(rule, other, 128)
    assert (found and found["items"]["base"].get("of", "")) == formula
