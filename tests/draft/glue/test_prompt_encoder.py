"""The drafted prompt encoder, run on small tokenizers and encoders without a model."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from mflux_port.draft.glue.prompt_embeds import prompt_embeds
from mflux_port.draft.glue.prompt_encoder import Writer as PromptWriter
from mflux_port.draft.glue.prompt_encoder import negative_options
from mflux_port.port.port import port_from_answers

from tests.draft.glue.encoder_facts import CLIP_AND_T5, SIDE_BY_SIDE, ZEROS, fact
from tests.test_port import ANSWERS

DRAFTED = "class Own:\n    def __call__(self, input_ids, attention_mask):\n        return a, b\n"


class _Tokenizer:
    def __init__(self, ids: list[int]):
        self.ids, self.tokenizer = ids, self

    def __call__(self, texts: list[str], **options):
        assert options == {"padding": "max_length", "max_length": 4} and texts == ["a fox"]
        return SimpleNamespace(input_ids=[self.ids])


def _writer(facts: dict, source=lambda module: DRAFTED) -> PromptWriter:
    """The writer for a port with a drafted encoder and mflux's T5."""
    answers = ANSWERS | {"text_encoder": "own", "text_encoders": [{}, {"kind": "t5"}]}
    classes = {"text_encoder": ("a", "Own"), "text_encoder_2": ("b", "T5")}
    return PromptWriter(port_from_answers(answers), facts, classes, source)


def _encoded(facts: dict, *encoders) -> tuple:
    """What the prompt encoder of these facts returns for a drafted encoder and mflux's T5."""
    writer = _writer(facts)
    code = "".join(line for line in writer.text().splitlines(keepends=True) if not line.startswith(("from", "import")))
    precision = SimpleNamespace(precision=np.float32)
    scope = {"mx": np, "ModelConfig": precision, "LanguageTokenizer": int, "Own": int, "T5": int}
    exec(code, scope)
    first, second = _Tokenizer([1, 2, 3, 0]), _Tokenizer([4, 5, 0, 0])
    return scope["NovaImagePromptEncoder"].encode_prompt("a fox", first, encoders[0], second, encoders[1])


def _vectors(width: int):
    return lambda ids, *mask: np.repeat(ids[..., None], width, axis=-1)


def test_pooled_vector_of_one_encoder_and_token_vectors_of_the_other():
    pooled = lambda ids, mask: (None, 10.0 * ids[:, 2])  # noqa: E731

    vectors, whole = _encoded(CLIP_AND_T5, pooled, _vectors(2))

    assert vectors.tolist() == [[[4, 4], [5, 5], [0, 0], [0, 0]]] and whole.tolist() == [30]


def test_tokens_of_two_encoders_are_concatenated_and_padded_with_zeros():
    both = lambda ids, mask: (10.0 * ids[:, 2], _vectors(1)(ids))  # noqa: E731

    vectors, whole = _encoded(SIDE_BY_SIDE, both, _vectors(2))

    assert vectors.tolist() == [[[1, 0], [2, 0], [3, 0], [0, 0], [4, 4], [5, 5], [0, 0], [0, 0]]]
    assert whole.tolist() == [30]


def _encode_prompt(facts: dict):
    """``encode_prompt`` of these facts, with a tokenizer that gives a token for each letter and one more."""
    writer = PromptWriter(
        port_from_answers(ANSWERS | {"text_encoder": "own"}),
        facts,
        {"text_encoder": ("a", "Own")},
        lambda module: "class Own:\n    def __call__(self, input_ids):\n        return a\n",
    )
    code = "".join(line for line in writer.text().splitlines(keepends=True) if not line.startswith(("from", "import")))
    scope = {
        "mx": np,
        "ModelConfig": SimpleNamespace(precision=np.float32),
        "LanguageTokenizer": int,
        "Own": int,
        "re": re,
    }
    exec(code, scope)

    def tokens(texts: list[str], **options) -> SimpleNamespace:
        ids = [[*(ord(letter) - ord("a") + 2 for letter in texts[0]), 1]]
        return SimpleNamespace(input_ids=ids, attention_mask=np.ones_like(ids))

    encode = scope["NovaImagePromptEncoder"].encode_prompt
    return lambda text, **more: encode(text, SimpleNamespace(tokenizer=tokens), _vectors(1), **more)


def _flat(vectors) -> list[float]:
    return vectors.ravel().tolist()


def test_prompt_is_padded_with_zeros_if_the_transformer_gets_no_mask():
    assert _flat(_encode_prompt(ZEROS)("ab")) == [2, 3, 1, 0]
    masked = ZEROS | {"arguments": fact(encoder_attention_mask={"is": "text mask"})}
    assert _flat(_encode_prompt(masked)("ab")) == [2, 3, 1]


def test_prompt_that_the_reference_converts_to_lower_case():
    lower = ZEROS | {"tokenization.tokenizer": fact(options={"max_length": 4}, lower=True)}
    assert _flat(_encode_prompt(lower)("aB")) == [2, 3, 1, 0]


def test_padding_to_a_multiple_is_masked():
    facts = ZEROS | {
        "tokenization.tokenizer": fact(options={"padding": True, "pad_to_multiple_of": 4}),
        "encoding.text_encoder": fact(tokenizer="tokenizer", mask=True, first=0, keep="all"),
        "arguments": fact(encoder_attention_mask={"is": "text mask"}),
    }
    assert prompt_embeds(facts).with_mask


def test_missing_negative_prompt_becomes_zeros():
    encode = _encode_prompt(ZEROS)
    assert _flat(encode("", negative=True)) == [0, 0, 0, 0]
    assert _flat(encode("a", negative=True)) == [2, 1, 0, 0] and _flat(encode("")) == [1, 0, 0, 0]
    assert negative_options(ZEROS) == {"negative": True}


def test_wrapper_returns_its_content():
    wrapper = "from inner import Inner\n\n\nclass Own:\n    def __init__(self):\n        self.text_model = Inner()\n\n"
    wrapper += (
        "    def __call__(self, input_ids, attention_mask=None):\n        return self.text_model(input_ids=input_ids)\n"
    )
    drafted = {"a": wrapper, "inner": DRAFTED}
    writer = _writer(CLIP_AND_T5, lambda module: drafted.get(module, ""))
    assert "_, pooler_output = text_encoder(input_ids)" in writer.text() and not writer.unresolved


def test_an_encoder_that_gets_only_the_quoted_words():
    """Without quoted words, the transformer gets zeros and a mask of zeros."""
    words = {"options": {"padding": "max_length"}, "quoted": [["'", "'"], ["“", "”"]], "before": "", "after": "b"}
    facts = ZEROS | {
        "tokenization.tokenizer": fact(**words),
        "encoding.text_encoder": fact(tokenizer="tokenizer", mask=False, first=0, keep="all"),
        "arguments": fact(glyph_mask={"is": "text mask", "of": "encoder_hidden_states"}),
    }
    del facts["negative"]
    encode = _encode_prompt(facts)
    assert [part.ravel().tolist() for part in encode("say “d” and 'a'")] == [[2, 3, 5, 3, 1], [1, 1, 1, 1, 1]]
    assert [part.ravel().tolist() for part in encode("say nothing")] == [[0], [0]]


@pytest.mark.parametrize(
    "changed",
    [
        {"encoding.text_encoder": {"value": None, "where": ""}},
        {"prompt.pooled_projections": {"value": None, "where": ""}},
        {"prompt.pooled_projections": fact(states=["text_encoder.no_such_output"])},
        {"encoding.text_encoder": fact(tokenizer="tokenizer", mask=False, first=0, keep="pooled", outputs=["one"])},
        {"encoding.text_encoder_2": fact(tokenizer="tokenizer_2", mask=True, first=0, keep="all")},
        {"prompt.encoder_hidden_states": fact(states=["text_encoder_2.last_hidden_state"], zeros_behind=3)},
    ],
)
def test_an_encoder_that_the_facts_do_not_explain_is_listed(changed):
    writer = _writer(CLIP_AND_T5 | changed)
    text = writer.text()
    assert "raise NotImplementedError" in text and "ModelConfig" not in text and "-> tuple[mx.array, mx.array]" in text
    assert [entry.name for entry in writer.unresolved] == ["prompt_encoder"]


def test_an_encoder_that_no_run_used_is_listed():
    facts = {name: fact for name, fact in CLIP_AND_T5.items() if name != "prompt.pooled_projections"}
    writer = _writer(facts)
    assert "noqa: ARG004" in writer.text()
    assert [entry.name for entry in writer.unresolved] == ["prompt_encoder.text_encoder"]
    gives = {"glyphs": ["text_encoder.last_hidden_state"]}
    facts["quoted.text_encoder"] = fact(prompt='say "OPEN"', text='Text "OPEN". ', options={}, gives=gives)
    writer = _writer(facts)
    assert writer.text() and "glyphs has its text_encoder.last_hidden_state" in writer.unresolved[0].candidates[0]
