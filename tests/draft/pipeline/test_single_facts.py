"""Single facts, read from handwritten traces without a pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mflux_port.draft.pipeline import arguments as arguments_of
from mflux_port.draft.pipeline import loop, negative
from mflux_port.draft.pipeline.arguments import Transformer, View, arguments
from mflux_port.draft.pipeline.encoding import Prompt, encodings, of_empty_text
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.of_config import with_origin
from mflux_port.draft.pipeline.prompts import changed_texts
from mflux_port.draft.pipeline.watch import NetworkCall, Step, TokenizerCall, Trace


class Array(np.ndarray):
    """An array with torch's method for the number of axes."""

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return self.size

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


def test_complex_argument_is_listed_and_the_others_are_read():
    table = np.ones((6, 4), np.complex64).view(Array)
    views = [View({"rotary": table, "return_dict": False}, {"height": 2, "width": 3}, 5, [1] * 5)] * 2
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


@pytest.mark.parametrize(
    ("given", "result", "encoded", "wanted"),
    [
        ("", [], [[7]], ["bos_token_id"]),
        ("", [], [[8]], ["eos_token_id"]),
        ([""], [[]], [[0]], [0]),
        ("", [1], [[1]], []),
        ("a fox", [], [[0]], []),
    ],
)
def test_an_empty_text_may_have_no_token(given, result, encoded, wanted):
    trace = Trace()
    trace.tokenizers = [TokenizerCall("tokenizer", "__call__", given, {}, SimpleNamespace(input_ids=result))]
    trace.encoders = [NetworkCall("text_encoder", "text_encoder", 0, {"input_ids": np.array(encoded).view(Array)})]
    found = of_empty_text(trace, {"tokenizer": SimpleNamespace(bos_token_id=7, eos_token_id=8)})
    assert [fact.value["id"] for fact in found] == wanted


@pytest.mark.parametrize(("start", "columns"), [(0, [1, "row", "column"]), (512, [1, "row + 512", "column + 512"])])
def test_positions_may_begin_after_those_of_the_prompt(start, columns):
    views, given = [], []
    for height, width in ((4, 6), (6, 4)):
        grid = np.stack(np.meshgrid(np.arange(height // 2), np.arange(width // 2), indexing="ij"), axis=-1) + start
        given.append(np.concatenate([np.ones((*grid.shape[:2], 1)), grid], axis=-1).reshape(-1, 3).view(Array))
        views.append(View({"ids": given[-1]}, {"height": height, "width": width}, 5, [1] * 5))
    assert arguments_of._columns(_tables(given, views)) == columns


def _tables(given: list, views: list[View]) -> list[tuple]:
    return [
        (own, arguments_of._grid(v.sizes["height"] // 2, v.sizes["width"] // 2))
        for own, v in zip(given, views, strict=True)
    ]


@pytest.mark.parametrize(
    ("holds", "size"),
    [
        ({"then the": (0, 1), "at most": ()}, "the norm"),
        ({"then the": (0,), "at most": (0, 1)}, "at most the norm"),
        ({"then the": (0,), "at most": (1,)}, None),  # larger in the first step
    ],
)
def test_a_formula_of_guidance_must_hold_in_every_step(monkeypatch, holds, size):
    def is_formula(rows, target, found, scale):  # noqa: ARG001
        return int(target[0]) in next(steps for text, steps in holds.items() if text in found["formula"])

    monkeypatch.setattr(loop, "_formula", lambda *given: {"formula": "mixed, then the norm", "conditional": 0})
    monkeypatch.setattr(loop, "_is_formula", is_formula)
    numbers = [np.full((1, 1), step).view(Array) for step in (0, 1)]
    calls = [
        NetworkCall("transformer", "transformer", step, {}, [[number[0], number[0]]])
        for step, number in enumerate(numbers)
    ]
    trace = Trace(transformers=calls, steps=[Step(number, None) for number in numbers])
    fact = loop.guidance((trace, trace), (3.0, 5.0))
    assert (fact.value and fact.value["formula"].partition(", then ")[2]) == size


@pytest.mark.parametrize(("weights", "explained"), [((1.0, 0.0), True), ((1.5, -0.5), False)])
def test_a_step_that_needs_earlier_predictions_is_not_a_schedule_of_mflux(weights, explained):
    """A multistep solver may have the sigmas of a plain one: only its steps show the difference."""

    class Vector(Array):
        def norm(self) -> float:
            return float(np.linalg.norm(np.asarray(self)))

    sigmas, steps = [1.0, 2 / 3, 1 / 3, 0.0], []
    outputs = [np.arange(4.0).reshape(1, 1, 2, 2).view(Vector) + number for number in range(3)]
    sample = np.ones((1, 1, 2, 2)).view(Vector)
    for number, output in enumerate(outputs):
        mixed = output if not steps else weights[0] * output + weights[1] * outputs[number - 1]
        result = sample + (sigmas[number + 1] - sigmas[number]) * mixed
        steps.append(Step(output, sample, result))
        sample = result
    noise = [np.zeros((1, 4, 2, 2)).view(Array)]
    given = {"set_timesteps": {"sigmas": sigmas[:-1]}, "timesteps": [1000 * one for one in sigmas[:-1]]}
    trace = Trace(sigmas=sigmas, steps=steps, noise=noise, **given)
    fact = loop.schedule([trace], {"_class_name": "Solver", "shift": 1.0})
    assert (fact.value is not None) == explained
    assert explained or "a step of Solver is not" in fact.alternatives[0]
