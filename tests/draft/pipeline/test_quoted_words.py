"""An encoder that gets only the quoted words of a prompt: the rule that several prompts show."""

from __future__ import annotations

import re

import numpy as np
import pytest
from mflux_port.draft.pipeline import quoted_words
from mflux_port.draft.pipeline.watch import NetworkCall, TokenizerCall, Trace

FOUND = [("'", "'"), ("“", "”")]


def _by_pair(prompt: str) -> list[str]:
    return [word for left, right in FOUND for word in re.findall(f"{left}(.*?){right}", prompt)]


def _in_order(prompt: str) -> list[str]:
    return [one or other for one, other in re.findall("'(.*?)'|“(.*?)”", prompt)]


def _fact(monkeypatch, words, without: float = 0.0):
    """The fact about a pipeline whose second encoder gets these words of a prompt, and a vector if there are none."""

    def run(pipe, call: dict, *rest, **more) -> Trace:  # noqa: ARG001
        found = words(call["prompt"])
        text = "".join(f'Text "{word}". ' for word in found)
        cut = [TokenizerCall("tokenizer_2", "__call__", text, {"max_length": 8, "dtype": object})] if found else []
        glyphs = np.full((1, 8), 1.0 if found else without)
        return Trace(tokenizers=cut, transformers=[NetworkCall("transformer", "", 0, {"glyphs": glyphs, "t": 1})])

    monkeypatch.setattr(quoted_words, "run", run)
    return quoted_words.quoted_words(None, {"prompt": "a red fox"}, "text_encoder_2")


def test_the_text_follows_from_the_words_of_each_pair_of_quotes(monkeypatch):
    fact = _fact(monkeypatch, _by_pair)
    assert fact.name == "tokenization.tokenizer_2" and fact.value == {
        "options": {"max_length": 8},
        "quoted": [list(pair) for pair in FOUND],
        "before": 'Text "',
        "after": '". ',
    }


@pytest.mark.parametrize(
    ("words", "without", "why"), [(_in_order, 0.0, "it encodes"), (_by_pair, 0.5, "without quoted words is not zeros")]
)
def test_unknown_rule_stays_open(monkeypatch, words, without, why):
    fact = _fact(monkeypatch, words, without)
    assert fact.value is None and why in fact.alternatives[0]


def test_an_encoder_that_quotes_do_not_reach_has_no_fact(monkeypatch):
    assert _fact(monkeypatch, lambda prompt: []) is None  # noqa: ARG005
