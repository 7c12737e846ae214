"""The size of an image to edit is read from pixels: only a rule that fits every image is accepted."""

from __future__ import annotations

import math
import random
import textwrap

import numpy as np
import PIL.Image
import pytest
from mflux_port.draft.glue import edit
from mflux_port.draft.pipeline import image_sizes

SIZES = [(96, 224), (112, 192), (144, 160), (152, 152), (160, 144), (192, 112), (224, 96)]
NEAREST = {
    "width / height": lambda size, width, height: abs(size[0] / size[1] - width / height),
    "height / width": lambda size, width, height: abs(size[1] / size[0] - height / width),
    "the logarithm of width / height": lambda size, width, height: abs(
        math.log(size[0] * height) - math.log(size[1] * width)
    ),
}


def _pipeline(by: str, multiple: int = 1, cut: int = 1, sizes: list = SIZES):
    """The VAE's input for a pipeline that chooses from ``sizes``."""

    def encoded(image: PIL.Image.Image) -> np.ndarray:
        sides = [side // cut * cut for side in image.size]
        size = min(sizes, key=lambda size: NEAREST[by](size, *sides))
        fitted = image.resize([side // multiple * multiple for side in size], PIL.Image.Resampling.LANCZOS)
        return np.asarray(fitted, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1

    return encoded


def _drafted(value: dict):
    scope = {"PIL": PIL, "math": math}
    exec("def fit(image, width, height):\n" + textwrap.indent("\n".join(edit.fit_lines(value)), "    "), scope)
    return scope["fit"]


@pytest.mark.parametrize(
    ("by", "multiple", "cut"),
    [("width / height", 1, 16), ("height / width", 32, 1), ("the logarithm of width / height", 1, 1)],
)
def test_a_size_from_the_pipelines_list_is_read_and_drafted(by, multiple, cut):
    encoded = _pipeline(by, multiple, cut)
    found = image_sizes.image_size(encoded, 64, 48, {"PREFERRED": SIZES, "OTHERS": [(64, 64)] * 5})

    assert found.is_decided and "PREFERRED in the pipeline's module" in found.where
    assert [found.value[key] for key in ("by", "multiple", "cut")] == [by, multiple, cut]
    fit, rng = _drafted(found.value), random.Random(0)
    for _ in range(60):
        image = image_sizes.picture(rng.randrange(40, 400), rng.randrange(40, 400))
        assert fit(image, 64, 48).size == encoded(image).shape[:1:-1]


def test_entries_cropped_to_the_same_size_need_not_be_distinguished():
    sizes = [(128, 192), (191, 192), (256, 128), (320, 128)]
    found = image_sizes.image_size(_pipeline("height / width", 64, sizes=sizes), 64, 48, {"PREFERRED": sizes})
    assert found.is_decided and found.value["multiple"] == 64


def test_list_that_fits_only_the_first_images_is_rejected():
    right = _pipeline("width / height")

    def encoded(image):
        return right(image if image.height < 300 or image.width > 1000 else image.resize((96, 224)))

    found = image_sizes.image_size(encoded, 64, 48, {"PREFERRED": SIZES})
    assert found.value is None and found.alternatives == ("144x160", "224x96", "160x144")


def test_list_with_an_unused_entry_is_rejected():
    right = _pipeline("width / height")

    def encoded(image):
        pixels = right(image)
        return pixels[:, :, :-16] if pixels.shape[2:] == (224, 96) else pixels

    assert image_sizes.image_size(encoded, 64, 48, {"PREFERRED": SIZES}).value is None


def test_size_without_a_list_is_open():
    assert image_sizes.image_size(_pipeline("width / height"), 64, 48, {}).value is None


def test_lists_of_sizes_are_found_among_constants():
    names = {
        "PREFERRED": [(1, 2)] * 4, "BY_AREA": {256: [(1, 2)] * 4, "x": 3}, "SHORT": [(1, 2)] * 3,
        "TEXTS": ["ab"] * 4, "FLAGS": [(True, False)] * 4, "__builtins__": {"a": [(1, 2)] * 4},
    }  # fmt: skip
    assert set(image_sizes.listed_sizes(names)) == {"PREFERRED", "BY_AREA[256]"}
