"""The drafted call of the transformer: its arguments, guidance and what stays open."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import numpy as np
import pytest
from mflux_port.draft.glue.expressions import Given, argument
from mflux_port.draft.glue.prediction import Writer
from mflux_port.draft.glue.prompt_embeds import PromptEmbeds
from mflux_port.draft.glue.signature import Signature, call_signature
from mflux_port.port.port import port_from_answers

from tests.draft.glue.encoder_facts import CLIP_AND_T5, fact
from tests.test_port import ANSWERS


def test_numbers_follow_sizes_and_the_length_of_the_prompt():
    given = Given("NovaPrediction", PromptEmbeds(with_mask=True), pixels=8)
    rule = {"is": "numbers", "numbers": [["pixel height", 0, "text"]], "array": True, "dtype": "float"}
    text = argument(rule, given)
    assert text == "mx.array([[height * 8, 0, embeddings.shape[1]]], dtype=mx.float32)"
    assert given.lines(text) == ["embeddings, _ = prompt_embeds", "height, width = latents.shape[-2:]"]


def test_drafted_expressions_are_python():
    given = Given("NovaPrediction", PromptEmbeds(), pixels=8)
    rules = [
        {"is": "image ids", "columns": [0, "row", "column"], "patch": 2, "axes": 3, "dtype": "int"},
        {"is": "text ids", "columns": [1, "token"], "axes": 2, "dtype": "float"},
        {"is": "image ids", "columns": [1, "row + 512", "column + 512"], "patch": 2, "axes": 2, "dtype": "float"},
        {"is": "text ids", "columns": [0, 0], "axes": 3, "dtype": "float"},
        {"is": "table", "items": {"resolution": {"is": "constant", "value": None}}},
    ]
    texts = [argument(rule, given) for rule in rules]
    for line in [*texts, *given.lines("".join(texts))]:
        ast.parse(line)


def test_mask_with_extra_tokens_and_the_image_is_drafted():
    given = Given("NovaPrediction", PromptEmbeds(with_mask=True), pixels=8)
    rule = {"is": "text mask", "extra": 1, "image": 2, "axes": 4, "dtype": "int"}
    text = argument(rule, given)
    scope = {"mask": np.array([[1, 1, 0, 0]]), "embeddings": np.zeros((1, 4, 2)), "height": 2, "width": 4, "mx": np}
    for line in list(given.extra):
        exec(line, scope)
    found = eval(text, scope)
    assert found.shape == (1, 1, 1, 6) and found.reshape(-1).tolist() == [1, 1, 1, 0, 1, 1]


def test_each_of_several_arguments_about_the_prompt_is_passed():
    facts = CLIP_AND_T5 | {
        "arguments": fact(encoder_hidden_states={"is": "prompt"}, pooled_projections={"is": "prompt"})
    }
    names = {"encoder_hidden_states": False, "pooled_projections": False}
    text = Writer(port_from_answers(ANSWERS), facts, Signature(names, "mx.array")).text()
    assert "encoder_hidden_states, pooled_projections = prompt_embeds" in text
    assert "prompt_embeds: tuple[mx.array, mx.array]," in text


def test_settings_that_the_drafted_transformer_does_not_know_are_listed():
    items = {"base_sequence_length": {"is": "constant", "value": 4096}}
    facts = {
        "arguments": fact(
            cross_attention_kwargs={"is": "table", "items": items}, return_dict={"is": "constant", "value": False}
        )
    }
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    assert "gives its transformer as cross_attention_kwargs" in writer.text()
    assert "prediction.cross_attention_kwargs" in [entry.name for entry in writer.unresolved]
    items["base_sequence_length"]["value"] = None
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    assert "cross_attention_kwargs" not in writer.text()


def test_input_of_zeros_is_left_out_if_optional_and_listed():
    facts = {"guidance": fact(formula="conditional"), "arguments": fact(glyphs={"is": "zeros", "shape": [1, 128]})}
    for optional, passed in ((True, "transformer()"), (False, "raise NotImplementedError")):
        port = port_from_answers(ANSWERS)._replace(variants=("txt2img",))
        writer = Writer(port, facts, Signature({"glyphs": optional}, "mx.array"))
        assert passed in writer.text()
        assert [entry.name for entry in writer.unresolved] == ["prediction.glyphs"]


CFG = "unconditional + guidance * (conditional - unconditional)"


@pytest.mark.parametrize(
    ("formula", "guided", "when", "how"),
    [
        (CFG, "guidance > 1", "return guidance > 1.0", f"return {CFG}"),
        ("conditional", "", "return False", "makes no second prediction"),
        (CFG, "", "raise NotImplementedError", f"return {CFG}"),
        (None, "guidance > 1", "return guidance > 1.0", "raise NotImplementedError"),
    ],
)
def test_guidance_follows_the_runs_or_stays_open(formula, guided, when, how):
    facts = {"guidance": {"value": {"formula": formula}}, "negative": {"value": {"guided": guided, "default": ""}}}
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    written = ast.walk(ast.parse(writer.text()))
    methods = {node.name: ast.unparse(node) for node in written if isinstance(node, ast.FunctionDef)}
    assert when in methods["is_guided"] and how in methods["guide"]
    open_facts = {entry.name for entry in writer.unresolved}
    assert ("prediction.negative" in open_facts) == when.startswith("raise")
    assert ("prediction.guidance" in open_facts) == how.startswith("raise")


def test_a_second_guidance_that_is_off_makes_no_second_prediction():
    facts = {
        "guidance": fact(formula=CFG), "guidance_argument": fact(argument="guidance"), "negative": fact(guided="guidance > 1", default=None),
        "defaults": fact(guidance_scale=3.5, true_cfg_scale=1.0),
    }  # fmt: skip
    port = port_from_answers(ANSWERS)._replace(variants=("txt2img",))
    writer = Writer(port, facts, Signature({}, "mx.array"))
    assert "return False" in writer.text() and f"return {CFG}" in writer.text() and not writer.unresolved
    facts["defaults"]["value"]["true_cfg_scale"] = 4.0
    assert "return guidance > 1.0" in Writer(port, facts, Signature({}, "mx.array")).text()


def test_rotary_embeddings_are_computed_once_per_image():
    written = (
        "class A:\n    def __call__(self, x, ids, mask=None, rotary_embeddings=None) -> mx.array:\n        return x\n"
        "    def get_rotary_embeddings(self, ids, mask=None):\n        return ids\n"
    )
    rules = {"x": {"is": "latents"}, "ids": {"is": "numbers", "array": True, "numbers": [1], "dtype": "int"}}
    facts = {"arguments": fact(**rules), "packing": fact(pattern="b c h w -> b (h w) (c)")}
    signature = call_signature(written)
    assert signature.of_rotary == ("ids", "mask") and "rotary_embeddings" not in signature.arguments
    text = Writer(port_from_answers(ANSWERS), facts, signature).text()
    assert "        rotary_embeddings = transformer.get_rotary_embeddings(ids=ids)\n" in text
    assert (
        "        return (ids, rotary_embeddings)\n" in text and "ids=ids, rotary_embeddings=rotary_embeddings)" in text
    )
    timed = facts | {
        "arguments": fact(**rules | {"ids": {"is": "time", "axes": 1}}),
        "timestep": fact(**{"is": "sigma"}),
    }
    assert "get_rotary" not in Writer(port_from_answers(ANSWERS), timed, signature).text()  # they differ by step
    without = call_signature(written.replace("return ids", "raise NotImplementedError"))
    assert "rotary" not in Writer(port_from_answers(ANSWERS), facts, without).text()


@pytest.mark.parametrize(("size", "scaled"), [("the norm", 2.0), ("at most the norm", 1.0)])
def test_guidance_is_scaled_back_or_only_made_smaller(size, scaled):
    shapes = {"pattern": "unchanged", "noise_shape": [1, 1, 1, 2], "shape": [1, 1, 1, 2]}
    formula = {"formula": f"{CFG}, then {size} of the conditional output"}
    facts = {"guidance": {"value": formula}, "packing": {"value": shapes}}
    text = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array")).text()
    written = ast.walk(ast.parse(text))
    guide = next(node for node in written if isinstance(node, ast.FunctionDef) and node.name == "guide")
    scope: dict = {"mx": SimpleNamespace(array=np.ndarray, linalg=np.linalg, minimum=np.minimum)}
    exec(ast.unparse(guide).replace("@staticmethod\n", ""), scope)
    conditional, unconditional = np.array([2.0, 0.0]), np.array([3.0, 0.0])
    assert scope["guide"](conditional, unconditional, 2.0).tolist() == [scaled, 0.0]  # mixed is [1, 0]


def test_guidance_of_the_first_channels():
    facts = {"guidance": {"value": {"formula": CFG, "channels": 2}}}
    text = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array")).text()
    guide = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == "guide"
    )
    scope: dict = {"mx": SimpleNamespace(array=np.ndarray, concatenate=np.concatenate)}
    exec(ast.unparse(guide).replace("@staticmethod\n", ""), scope)
    conditional, unconditional = np.full((1, 3, 1, 1), 2.0), np.full((1, 3, 1, 1), 1.0)
    assert scope["guide"](conditional, unconditional, 4.0).reshape(-1).tolist() == [5.0, 5.0, 2.0]
