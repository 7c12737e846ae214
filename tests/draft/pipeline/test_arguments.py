"""How several runs determine the rule for an argument of the transformer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from mflux_port.draft.glue.expressions import Given, argument
from mflux_port.draft.glue.prompt_embeds import PromptEmbeds
from mflux_port.draft.pipeline import arguments
from mflux_port.draft.pipeline.arguments import Transformer, View
from mflux_port.draft.pipeline.of_config import with_origin
from mflux_port.draft.pipeline.watch import NetworkCall, Trace


def _views(masks: list[list[int]], sizes: list[tuple[int, int]]) -> list[View]:
    return [
        View({}, {"pixel height": 8 * h, "pixel width": 8 * w, "height": h, "width": w}, len(mask), mask)
        for mask, (h, w) in zip(masks, sizes, strict=True)
    ]


class _Tensor:
    """The part of a tensor that a rule about masks reads."""

    def __init__(self, numbers: list[int], axes: int = 2):
        self.numbers, self.axes, self.dtype = numbers, axes, "torch.int64"

    def dim(self) -> int:
        return self.axes

    def numel(self) -> int:
        return len(self.numbers)

    def reshape(self, size: int):  # noqa: ARG002
        return self

    def tolist(self) -> list[int]:
        return self.numbers

    def is_floating_point(self) -> bool:
        return False

    def is_complex(self) -> bool:
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.numbers),)

    def any(self) -> bool:
        return any(self.numbers)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ([[1, 1, 0, 0], [1, 1, 1, 0]], {"is": "text mask"}),
        ([[1, 1, 1, 0], [1, 1, 1, 1]], {"is": "text mask", "extra": 1}),
        ([[1, 1, 0, 0, 1, 1], [1, 1, 1, 0, 1, 1, 1]], {"is": "text mask", "image": 2}),
        ([[1, 1, 0, 1], [1, 1, 1, 1]], None),
        ([[1, 1, 0, 0, 1], [1, 1, 1, 0, 1]], None),
    ],
)
def test_mask_covers_the_prompt_and_the_tokens_after_it(given, rule):
    views = _views([[1, 1, 0, 0], [1, 1, 1, 0]], [(2, 4), (2, 6)])
    found = arguments._mask([_Tensor(numbers) for numbers in given], views)
    assert found == (rule and rule | {"axes": 2, "dtype": "int"})


def test_a_mask_of_another_argument_names_it():
    views = [replace(view, masks={"glyphs": mask}) for view, mask in
             zip(_views([[1, 1], [1, 1]], [(2, 4), (2, 6)]), ([1, 0, 0], [1, 1, 0]), strict=True)]  # fmt: skip
    found = arguments._rule([_Tensor([1, 0, 0]), _Tensor([1, 1, 0])], views, {})
    assert found == {"is": "text mask", "of": "glyphs", "axes": 2, "dtype": "int"}
    given = Given("Vega", PromptEmbeds(("text", "glyphs"), "text", masked=("glyphs",)), 8)
    assert argument(found, given) == "mask_of_glyphs.astype(mx.int32)"
    assert given.lines("mask_of_glyphs") == ["_, _, mask_of_glyphs = prompt_embeds"]


def test_zeros_in_every_run_are_read_as_zeros():
    assert arguments._zeros([_Tensor([0, 0]), _Tensor([0, 0])]) == {"is": "zeros", "shape": [2]}
    for other in ([0, 1], [0, 0, 0]):
        assert arguments._zeros([_Tensor([0, 0]), _Tensor(other)]) is None


def _trace(*scales: float) -> Trace:
    calls = [
        NetworkCall("transformer", "transformer", step, {"scale": scale, "style": [1]})
        for step, scale in enumerate(scales)
    ]
    return Trace(transformers=calls)


@pytest.mark.parametrize(("scales", "changing"), [((1.0, 1.0, 1.0), set()), ((1.0, 1.0, 0.5), {"scale"})])
def test_an_argument_that_a_later_step_changes_is_open(scales, changing):
    trace = _trace(*scales)
    given = trace.transformers[0].arguments
    main = SimpleNamespace(call=0, row=0)
    assert arguments._changing(trace, main, 1, given) == changing
    found = arguments.arguments([View(given, {}, 1, [1], frozenset(changing))], {}, Transformer({}, []))
    assert (
        (found.value["scale"] is None)
        == bool(changing)
        == any("from step to step" in one for one in found.alternatives)
    )


@pytest.mark.parametrize(
    ("other", "of"),
    [
        ({"factor": 4.0}, "sample_size / 2"),
        ({"theta": 200}, None),
        ({"positions": [32, 32]}, None),
    ],
)
def test_only_a_number_with_a_formula_follows_the_size(other, of):
    rule = {
        "is": "rotary",
        "positions": [16, 16],
        "width": "head_dim",
        "layout": "alternating",
        "theta": 100,
        "factor": 2.0,
    }
    found = with_origin(rule, rule | other, 4)
    assert found == (of and rule | {"of": of})
    if found:
        text = argument(found, Given("Vega", PromptEmbeds(("text",), "text"), 8))
        assert text.endswith("100, transformer.sample_size / 2)")
