"""How several runs determine the rule for an argument of the transformer."""

from __future__ import annotations

import pytest
from mflux_port.draft.pipeline import arguments
from mflux_port.draft.pipeline.arguments import View


def _views(masks: list[list[int]], sizes: list[tuple[int, int]]) -> list[View]:
    return [
        View({}, {"pixel height": 8 * h, "pixel width": 8 * w, "height": h, "width": w}, len(mask), mask, None)
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
def test_a_mask_is_of_the_prompt_and_of_what_follows(given, rule):
    views = _views([[1, 1, 0, 0], [1, 1, 1, 0]], [(2, 4), (2, 6)])
    found = arguments._mask([_Tensor(numbers) for numbers in given], views)
    assert found == (rule and rule | {"axes": 2, "dtype": "int"})


def test_zeros_in_every_run_are_zeros():
    assert arguments._zeros([_Tensor([0, 0]), _Tensor([0, 0])]) == {"is": "zeros", "shape": [2]}
    for other in ([0, 1], [0, 0, 0]):
        assert arguments._zeros([_Tensor([0, 0]), _Tensor(other)]) is None
