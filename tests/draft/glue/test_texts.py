"""Drafted text of the glue, without a model: packing by value, hidden states by encoder, sizes and notes."""

from __future__ import annotations

import ast
from itertools import permutations

import numpy as np
import pytest
from mflux_port.draft.glue import latent_creator, readme
from mflux_port.draft.glue.encoder_states import states
from mflux_port.draft.glue.expressions import Given, argument
from mflux_port.draft.glue.packing import packing
from mflux_port.draft.glue.prediction import Writer
from mflux_port.draft.glue.prompt_embeds import PromptEmbeds
from mflux_port.draft.glue.signature import Signature, call_signature, without_method
from mflux_port.draft.glue.sizes import small_configs
from mflux_port.port.port import port_from_answers

from tests.parity.references import FAMILIES
from tests.test_port import ANSWERS

PATTERNS = [f"b c (h p) (w q) -> b (h w) ({' '.join(inner)}), p = q = 2" for inner in permutations("cpq")]
PATTERNS += [f"b c (h p) (w q) -> b ({' '.join(inner)}) h w, p = q = 2" for inner in permutations("cpq")]


@pytest.mark.parametrize("pattern", [*PATTERNS, "b c h w -> b (h w) (c)"])
def test_packing_is_the_pattern_and_is_undone(pattern):
    latents = np.arange(1 * 3 * 4 * 6).reshape(1, 3, 4, 6)
    scope: dict = {"mx": np}
    exec(f"class Drafted:\n{packing(pattern).methods().replace('mx.array', 'object')}", scope)

    packed = scope["Drafted"]._pack(latents)

    for channel, row, column in ((0, 0, 0), (2, 3, 1), (1, 2, 5)):
        assert packed[_place(pattern, channel, row, column)] == latents[0, channel, row, column]
    assert np.array_equal(scope["Drafted"]._unpack(packed, latents.shape), latents)


def _place(pattern: str, channel: int, row: int, column: int) -> tuple:
    """Where a number of (1, 3, 4, 6) latents is, by the words of the pattern."""
    patch = 2 if "p = q = 2" in pattern else 1
    inner = pattern.partition("-> b ")[2].replace("(h w)", "").partition("(")[2].partition(")")[0].split()
    sizes, values = {"c": 3, "p": 2, "q": 2}, {"c": channel, "p": row % patch, "q": column % patch}
    feature = 0
    for name in inner:
        feature = feature * sizes[name] + values[name]
    token = row // patch, column // patch
    if "-> b (h w)" in pattern:
        return 0, token[0] * (6 // patch) + token[1], feature
    return 0, feature, *token


def test_another_pattern_is_no_packing():
    assert packing("reshape to 1x2x3") is None and packing("unchanged") is None


@pytest.mark.parametrize(
    ("encoder", "wanted", "expressions"),
    [
        ("qwen3", ["hidden_states[-2]"], ["states[-2]"]),
        ("qwen3", ["last_hidden_state"], ["prompt_embeds"]),
        ("qwen3", ["hidden_states[-21]", "hidden_states[-3]"], ["states[-21]", "states[-3]"]),
        ("gemma2", ["hidden_states[-2]"], ["shortened(ids)"]),
        ("mistral3", ["hidden_states[-2]"], ["text_encoder(ids)"]),
    ],
)
def test_hidden_states_of_an_encoder(encoder, wanted, expressions):
    assert states(encoder, wanted, "ids").expressions == expressions


def test_a_state_that_an_encoder_does_not_give_is_refused():
    assert states("mistral3", ["hidden_states[-1]"], "ids") is None
    assert states("own", ["hidden_states[-2]", "hidden_states[-3]"], "ids") is None
    assert states("qwen3", ["pooler_output"], "ids") is None


def test_numbers_follow_sizes_and_the_length_of_the_prompt():
    given = Given("NovaPrediction", PromptEmbeds(with_mask=True), pixels=8)
    rule = {"is": "numbers", "numbers": [["pixel height", 0, "text"]], "array": True, "dtype": "float"}
    text = argument(rule, given)
    assert text == "mx.array([[height * 8, 0, embeddings.shape[1]]], dtype=mx.float32)"
    assert given.lines(text) == ["embeddings, _ = prompt_embeds", "height, width = latents.shape[-2:]"]


def test_a_signature_is_read_and_an_unwritten_call_is_not():
    written = "class A:\n    def __call__(self, x, t, *, mask=None) -> list[int]:\n        return [x]\n"
    signature = call_signature(written)
    assert signature.arguments == {"x": False, "t": False, "mask": True} and signature.first == "[0]"
    assert call_signature(written.replace("return [x]", "raise NotImplementedError")) is None


def test_only_a_method_that_raises_is_taken_out():
    source = (
        "class A:\n    def once(self):\n        raise NotImplementedError\n\n    def call(self):\n        return 1\n"
    )
    assert "once" not in without_method(source, "once")
    assert without_method(source, "call") == source


@pytest.mark.parametrize("family", FAMILIES)
def test_every_width_of_the_tests_is_quantized(family):
    real = {name: FAMILIES[family][name][2] for name in ("transformer", "text_encoder")}
    small = small_configs(real, {})
    transformer, text = small["transformer"], small["text_encoder"].get("text_config", small["text_encoder"])
    heads = transformer.get("num_attention_heads", transformer.get("n_heads"))
    size = transformer.get("attention_head_dim") or sum(
        transformer.get("axes_dims", transformer.get("rope_axes_dim", []))
    )
    assert heads * size % 64 == 0 and text["hidden_size"] % 64 == 0


def test_notes_are_written_once():
    facts = {
        "guidance": {"value": {"formula": "unconditional + guidance * (conditional - unconditional)"}},
        "negative": {"value": {"guided": "guidance > 1", "default": None}},
    }
    page = "## Notes\n- Width and height are multiples of 16.\n- More.\n"
    once = readme.with_notes(page, facts, 32)
    assert "multiples of 32.\n- Guidance is" in once and "with a negative prompt" in once
    assert readme.with_notes(once, facts, 32) == once


def test_drafted_expressions_are_python():
    given = Given("NovaPrediction", PromptEmbeds(), pixels=8)
    rules = [
        {"is": "image ids", "columns": [0, "row", "column"], "patch": 2, "axes": 3, "dtype": "int"},
        {"is": "text ids", "columns": [1, "token"], "axes": 2, "dtype": "float"},
        {"is": "text ids", "columns": [0, 0], "axes": 3, "dtype": "float"},
        {"is": "table", "items": {"resolution": {"is": "constant", "value": None}}},
    ]
    texts = [argument(rule, given) for rule in rules]
    for line in [*texts, *given.lines("".join(texts))]:
        ast.parse(line)


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
def test_guidance_is_what_the_runs_showed_or_is_left_open(formula, guided, when, how):
    facts = {"guidance": {"value": {"formula": formula}}, "negative": {"value": {"guided": guided, "default": ""}}}
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    written = ast.walk(ast.parse(writer.text()))
    methods = {node.name: ast.unparse(node) for node in written if isinstance(node, ast.FunctionDef)}
    assert when in methods["is_guided"] and how in methods["guide"]
    open_facts = {entry.name for entry in writer.unresolved}
    assert ("prediction.negative" in open_facts) == when.startswith("raise")
    assert ("prediction.guidance" in open_facts) == how.startswith("raise")


@pytest.mark.parametrize("shape", [[1, 12, 6, 4], [1, 1, 12, 6, 4], [1, 12, 1, 6, 4]])
def test_channels_are_not_the_frames(shape):
    source = "class Nova:\n    LATENT_CHANNELS = 16\n    SPATIAL_SCALE = 8\n"
    facts = {"packing": {"value": {"noise_shape": shape, "pixels": 8}}}
    assert "LATENT_CHANNELS = 12\n" in latent_creator.resized(source, facts)
