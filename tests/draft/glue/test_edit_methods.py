"""Drafted methods of a port that edits, run without a model: sizes, positions, and models that take only one image."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from mflux_port.draft.glue import edit
from mflux_port.draft.glue.prediction import Writer
from mflux_port.draft.glue.signature import Signature
from mflux_port.port.port import port_from_answers

from tests.test_port import ANSWERS

OWN = {"size": "its own", "most": 1024 * 1024, "multiple": 16, "to": "cropped in the middle"}
ROWS = {"columns": [{"first": 10, "each": 10}, "row", "column"], "axes": 3, "dtype": "int"}
PACKED = {"pattern": "b c h w -> b (h w) (c)"}


def _function(head: str, lines: list[str], scope: dict):
    exec(f"def function({head}):\n" + textwrap.indent("\n".join(lines), "    "), scope)
    return scope["function"]


@pytest.mark.parametrize(
    ("rule", "size", "wanted"),
    [
        (OWN, (4032, 3024), (1168, 880)),  # a photo with the same area as the model's images
        (OWN, (83, 107), (80, 96)),
        (OWN | {"most": None, "multiple": 32}, (1200, 1210), (1184, 1184)),
        ({"size": "the output's", "to": "resized"}, (83, 107), (64, 48)),
    ],
)
def test_image_is_resized_to_the_references_size(rule, size, wanted):
    fit = _function("image, width, height", edit.fit_lines(rule), {"PIL": PIL})
    assert fit(PIL.Image.new("RGB", size), 64, 48).size == wanted


def test_crop_is_centered():
    fit = _function("image, width, height", edit.fit_lines(OWN), {"PIL": PIL})
    image = PIL.Image.effect_noise((70, 50), 64)
    assert fit(image, 64, 48).tobytes() == image.crop((3, 1, 67, 49)).tobytes()


def test_an_image_that_is_too_small_is_refused():
    fit = _function("image, width, height", edit.fit_lines(OWN), {"PIL": PIL})
    with pytest.raises(ValueError, match="15x40 pixels, and a side needs 16 or more"):
        fit(PIL.Image.new("RGB", (15, 40)), 64, 48)


def _prepared(value: dict, images: list, patch: int = 1, rotary: str = "", unpacked: tuple[str, ...] = ()):
    grid = lambda height, width: tuple(np.mgrid[:height, :width].reshape(2, -1))  # noqa: E731
    ids = np.zeros((1, 2, 3), int)
    prepared = (ids, "text", "of the noise") if rotary else (ids, "text")
    first = SimpleNamespace(
        _grid=grid, prepare=lambda *given: prepared, _pack=lambda latents: np.zeros((1, len(latents)))
    )
    scope = {"mx": SimpleNamespace(**vars(np) | {"int32": int}), "Nova": first}
    fixed = {"img_ids": "", "txt_ids": ""} | ({"rotary_embeddings": rotary} if rotary else {})
    lines = edit.prepare_lines("Nova", value, fixed, patch, [*unpacked])
    given = "transformer, latents, prompt_embeds, guidance, image_latents"
    transformer = SimpleNamespace(get_rotary_embeddings=lambda given: given.shape)
    return _function(given, lines, scope)(transformer, "rows", (np.zeros(7), None), None, images)


def test_every_image_has_positions_of_its_own_size():
    images = [np.zeros((1, 4, 2, 4)), np.zeros((1, 4, 4, 2))]
    ids, text = _prepared({"count": 3, "positions": {"img_ids": ROWS}}, images, patch=2)
    assert text == "text"
    assert ids.tolist() == [[[0, 0, 0], [0, 0, 0], [10, 0, 0], [10, 0, 1], [20, 0, 0], [20, 1, 0]]]


@pytest.mark.parametrize(
    ("positions", "given", "shape"), [({"img_ids": ROWS}, "img_ids", (1, 4, 3)), ({}, "Nova._pack(latents)", (1, 5))]
)
def test_rotary_embeddings_cover_all_positions(positions, given, shape):
    rotary = f"transformer.get_rotary_embeddings({given})"
    *_, made = _prepared({"count": 3, "positions": positions}, [np.zeros((1, 4, 1, 2))], rotary=rotary)
    assert made == shape


def test_rotary_embeddings_may_read_the_prompts_vectors():
    rotary = "transformer.get_rotary_embeddings(text)"
    value, unpacked = {"count": 3, "positions": {"img_ids": ROWS}}, ("text, _ = prompt_embeds",)
    assert _prepared(value, [np.zeros((1, 4, 1, 2))], rotary=rotary, unpacked=unpacked)[-1] == (7,)


def test_a_model_that_edits_one_image_refuses_two():
    value = {"count": 1, "positions": {}}
    assert _prepared(value, ["one"])[1] == "text"
    with pytest.raises(ValueError, match="one image at a time"):
        _prepared(value, ["one", "two"])


def test_undecided_facts_raise_and_are_listed():
    port = port_from_answers(ANSWERS)
    facts = {"packing": {"value": PACKED}, "input_image": {"value": None, "alternatives": ["944x1104"]}}
    writer = Writer(port, facts, Signature({}, "mx.array"))
    text = writer.text()
    assert text.count("Decide images in") == 2 and text.count("Decide input_image in") == 1
    assert {"prediction.input_image", "prediction.images"} <= {entry.name for entry in writer.unresolved}
    plain = Writer(port._replace(variants=("txt2img",)), facts, Signature({}, "mx.array"))
    assert "predict_edit" not in plain.text()
