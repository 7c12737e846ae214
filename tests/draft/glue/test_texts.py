"""Drafted code between the networks, without a model: packing by value, hidden states by encoder, sizes and notes."""

from __future__ import annotations

import ast
import copy
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from mflux_port.draft.glue import latent_creator, readme
from mflux_port.draft.glue.encoder_states import states
from mflux_port.draft.glue.expressions import Given, argument
from mflux_port.draft.glue.layer_stack import LayerStack, layer_stack
from mflux_port.draft.glue.packing import packing
from mflux_port.draft.glue.prediction import ROTARY, Writer
from mflux_port.draft.glue.prompt_embeds import PromptEmbeds, prompt_embeds
from mflux_port.draft.glue.prompt_encoder import Writer as PromptWriter
from mflux_port.draft.glue.prompt_encoder import negative_options
from mflux_port.draft.glue.signature import Signature, call_signature, without_method
from mflux_port.draft.glue.sizes import sizes_text, small_configs
from mflux_port.draft.pipeline import arguments
from mflux_port.draft.pipeline.arguments import View
from mflux_port.draft.pipeline.rotary import rotary
from mflux_port.port.port import port_from_answers

from tests.draft.glue.references import REFERENCES
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


def test_rotary_embeddings_are_made_once_for_an_image():
    written = (
        "class A:\n    def __call__(self, x, ids, mask=None, rotary_embeddings=None) -> mx.array:\n        return x\n"
        "    def get_rotary_embeddings(self, ids, mask=None):\n        return ids\n"
    )
    rules = {"x": {"is": "latents"}, "ids": {"is": "numbers", "array": True, "numbers": [1], "dtype": "int"}}
    facts = {"arguments": _fact(**rules), "packing": _fact(pattern="b c h w -> b (h w) (c)")}
    signature = call_signature(written)
    assert signature.of_rotary == ("ids", "mask") and "rotary_embeddings" not in signature.arguments
    text = Writer(port_from_answers(ANSWERS), facts, signature).text()
    assert "        rotary_embeddings = transformer.get_rotary_embeddings(ids=ids)\n" in text
    assert (
        "        return (ids, rotary_embeddings)\n" in text and "ids=ids, rotary_embeddings=rotary_embeddings)" in text
    )
    without = call_signature(written.replace("return ids", "raise NotImplementedError"))
    assert "rotary" not in Writer(port_from_answers(ANSWERS), facts, without).text()


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


def test_the_transformer_takes_the_width_of_a_stand_in():
    real = {name: REFERENCES["flux"][name][2] for name in ("transformer", "text_encoder", "text_encoder_2")}
    small = small_configs(real, {}, ["text_encoder_2"])
    assert small["transformer"]["joint_attention_dim"] == small["text_encoder_2"]["d_model"] == 128
    assert small["transformer"]["pooled_projection_dim"] == small["text_encoder"]["hidden_size"] == 192


def test_an_axis_of_no_numbers_stays_one():
    real = {name: REFERENCES["flux"][name][2] for name in ("transformer", "text_encoder")}
    axes = {"axes_dims_rope": [0, 64, 64], "attention_head_dim": 128}
    small = small_configs(real | {"transformer": real["transformer"] | axes}, {})["transformer"]
    assert small["axes_dims_rope"] == [0, 16, 16] and small["num_attention_heads"] == 6


SIZES = """class Sizes:
    TRANSFORMER = {"hidden_size": 128}
    REFERENCE_CLASS = ""
    REFERENCE = {}
    TEXT_ENCODER = {"hidden_size": 128}
"""


@pytest.mark.parametrize(
    ("encoder", "table"),
    [
        ("d_model: int = 64, num_layers: int = 3", {"d_model": 192}),
        ("hidden_size: int = 64", {"hidden_size": 192}),
        ("", {"hidden_size": 192}),  # mflux's own class
    ],
)
def test_the_sizes_of_a_text_encoder_have_the_names_of_its_class(encoder, table):
    drafted = {"transformer": "class A:\n    def __init__(self, dim: int = 8):\n        pass\n"}
    drafted |= {"text_encoder": f"class B:\n    def __init__(self, {encoder}):\n        pass\n"} if encoder else {}
    real = {"transformer": {"dim": 8}, "text_encoder": {"d_model": 64, "hidden_size": 64, "num_layers": 3}}
    small = {"transformer": {"dim": 4}, "text_encoder": {"d_model": 192, "hidden_size": 192, "num_layers": 3}}
    scope: dict = {}
    exec(sizes_text(SIZES, drafted, "A", real, small), scope)
    assert scope["Sizes"].TEXT_ENCODER == table and scope["Sizes"].TRANSFORMER == {"dim": 4}


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
        {"is": "image ids", "columns": [1, "row + 512", "column + 512"], "patch": 2, "axes": 2, "dtype": "float"},
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


@pytest.mark.parametrize(("size", "scaled"), [("the norm", 2.0), ("at most the norm", 1.0)])
def test_guidance_is_scaled_back_or_only_made_smaller(size, scaled):
    facts = {"guidance": _fact(formula=f"{CFG}, then {size} of the conditional output")}
    facts["packing"] = _fact(pattern="unchanged", noise_shape=[1, 1, 1, 2], shape=[1, 1, 1, 2])
    text = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array")).text()
    guide = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == "guide"
    )
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


@pytest.mark.parametrize("layout", ["alternating", "rows first"])
@pytest.mark.parametrize(("heights", "factor"), [((4, 6), {"factor": 1.0}), ((32, 64), {"side": 128.0})])
def test_a_rotary_table_is_read_and_written_as_it_was(layout, heights, factor):
    """Written here from the definition: angle = position / theta ** (k / count) / factor."""
    frequencies = 10000.0 ** -(np.arange(3) / 3)
    sizes = [{"pixel height": height, "pixel width": 64} for height in heights]
    factors = [factor.get("factor") or (height * 64) ** 0.5 / 128 for height in heights]
    tables = [_table(layout, frequencies / one) for one in factors]
    rule = rotary(tables, sizes, {"head_dim": 12, "heads": 12})
    assert rule == {"is": "rotary", "positions": [5, 7], "width": "head_dim", "layout": layout, "theta": 10000} | factor
    given = Given("Drafted", PromptEmbeds(), pixels=8)
    scope: dict = {"mx": np, "transformer": SimpleNamespace(head_dim=12), "height": heights[1] // 8, "width": 8}
    call = argument(rule, given)
    exec(f"class Drafted:\n{ROTARY[layout].replace('mx.array', 'object')}\n", scope)
    written = eval(call, scope)
    expected = np.stack([tables[1].real, tables[1].imag], axis=-1)
    assert np.allclose(written, expected, atol=1e-5)
    assert rotary([tables[0] + 0.1, tables[1]], sizes, {"head_dim": 12}) is None
    assert rotary(tables, sizes, {"heads": 12}) is None


def _table(layout: str, frequencies: np.ndarray) -> np.ndarray:
    rows, columns = (np.arange(size)[:, None] * frequencies for size in (5, 7))
    by_row, by_column = np.broadcast_arrays(rows[:, None], columns[None])
    if layout == "rows first":
        return np.exp(1j * np.concatenate([by_row, by_column], axis=-1))
    return np.exp(1j * np.stack([by_row, by_column], axis=-1).reshape(5, 7, 6))


@pytest.mark.parametrize("shape", [[1, 12, 6, 4], [1, 1, 12, 6, 4], [1, 12, 1, 6, 4]])
def test_channels_are_not_the_frames(shape):
    source = "class Nova:\n    LATENT_CHANNELS = 16\n    SPATIAL_SCALE = 8\n    SIZE_MULTIPLE = 16\n"
    facts = {"packing": {"value": {"noise_shape": shape, "pixels": 8}}, "sizes": {"value": {"multiple": 32}}}
    text = latent_creator.resized(source, facts)
    assert "LATENT_CHANNELS = 12\n" in text and "SIZE_MULTIPLE = 32\n" in text


@pytest.mark.parametrize(
    ("facts", "sides"),
    [
        ({"sizes": {"value": {"multiple": 64}}, "packing": {"value": {"pixels": 8, "pattern": "unchanged"}}}, 64),
        ({"packing": {"value": {"pixels": 8, "pattern": "b c (h p) (w q) -> b (h w) (c p q), p = q = 2"}}}, 16),
        ({"sizes": {"value": None}, "packing": {"value": {"pixels": 32, "pattern": "unchanged"}}}, 32),
        ({"packing": {"value": None}}, 16),
    ],
)
def test_sides_are_multiples_of_what_is_drawn(facts, sides):
    assert latent_creator.multiple(facts) == sides


def _fact(**value) -> dict:
    return {"value": value, "where": ""}


def _of_encoder(number: str, keep: str = "all", **more) -> dict:
    return {
        f"tokenization.tokenizer{number}": _fact(options={"padding": "max_length", "max_length": 4}),
        f"encoding.text_encoder{number}": _fact(tokenizer=f"tokenizer{number}", mask=False, first=0, keep=keep, **more),
    }


CLIP_AND_T5 = {
    **_of_encoder("", keep="pooled", outputs=["last_hidden_state", "pooler_output"]),
    **_of_encoder("_2"),
    "prompt.encoder_hidden_states": _fact(states=["text_encoder_2.last_hidden_state"]),
    "prompt.pooled_projections": _fact(states=["text_encoder.pooler_output"]),
}
SIDE_BY_SIDE = {
    **_of_encoder("", outputs=["text_embeds", "last_hidden_state"]),
    **_of_encoder("_2"),
    "prompt.encoder_hidden_states": _fact(
        blocks=[
            {"states": ["text_encoder.last_hidden_state"], "zeros_behind": 3},
            {"states": ["text_encoder_2.last_hidden_state"]},
        ]
    ),
    "prompt.pooled_projections": _fact(states=["text_encoder.text_embeds"]),
}
DRAFTED = "class Own:\n    def __call__(self, input_ids, attention_mask):\n        return a, b\n"


class _Tokenizer:
    def __init__(self, ids: list[int]):
        self.ids, self.tokenizer = ids, self

    def __call__(self, texts: list[str], **options):
        assert options == {"padding": "max_length", "max_length": 4} and texts == ["a fox"]
        return SimpleNamespace(input_ids=[self.ids])


def _encoded(facts: dict, *encoders) -> tuple:
    """What the prompt encoder of these facts returns for a drafted encoder and mflux's T5."""
    answers = ANSWERS | {"text_encoder": "own", "text_encoders": [{}, {"kind": "t5"}]}
    classes = {"text_encoder": ("a", "Own"), "text_encoder_2": ("b", "T5")}
    writer = PromptWriter(port_from_answers(answers), facts, classes, lambda module: DRAFTED)
    code = "".join(line for line in writer.text().splitlines(keepends=True) if not line.startswith(("from", "import")))
    precision = SimpleNamespace(precision=np.float32)
    scope = {"mx": np, "ModelConfig": precision, "LanguageTokenizer": int, "Own": int, "T5": int}
    exec(code, scope)
    first, second = _Tokenizer([1, 2, 3, 0]), _Tokenizer([4, 5, 0, 0])
    return scope["NovaImagePromptEncoder"].encode_prompt("a fox", first, encoders[0], second, encoders[1])


def _vectors(width: int):
    return lambda ids, *mask: np.repeat(ids[..., None], width, axis=-1)


def test_one_encoder_gives_a_pooled_vector_the_other_one_for_each_token():
    pooled = lambda ids, mask: (None, 10.0 * ids[:, 2])  # noqa: E731

    vectors, whole = _encoded(CLIP_AND_T5, pooled, _vectors(2))

    assert vectors.tolist() == [[[4, 4], [5, 5], [0, 0], [0, 0]]] and whole.tolist() == [30]


ZEROS = {
    "tokenization.tokenizer": _fact(options={"max_length": 4}),
    "encoding.text_encoder": _fact(tokenizer="tokenizer", mask=False, first=0, keep="tokens", pad_to=4),
    "prompt.encoder_hidden_states": _fact(states=["text_encoder.last_hidden_state"], zeros_after=True),
    "negative": _fact(guided="guidance > 1", default="", zeros=True),
}


def _encode_prompt(facts: dict):
    """``encode_prompt`` of these facts, with a tokenizer that gives a token for each letter and one more."""
    writer = PromptWriter(
        port_from_answers(ANSWERS | {"text_encoder": "own"}),
        facts,
        {"text_encoder": ("a", "Own")},
        lambda module: "class Own:\n    def __call__(self, input_ids):\n        return a\n",
    )
    code = "".join(line for line in writer.text().splitlines(keepends=True) if not line.startswith(("from", "import")))
    scope = {"mx": np, "ModelConfig": SimpleNamespace(precision=np.float32), "LanguageTokenizer": int, "Own": int}
    exec(code, scope)

    def tokens(texts: list[str], **options) -> SimpleNamespace:
        ids = [[*(ord(letter) - ord("a") + 2 for letter in texts[0]), 1]]
        return SimpleNamespace(input_ids=ids, attention_mask=np.ones_like(ids))

    encode = scope["NovaImagePromptEncoder"].encode_prompt
    return lambda text, **more: encode(text, SimpleNamespace(tokenizer=tokens), _vectors(1), **more).ravel().tolist()


def test_zeros_fill_a_prompt_up_where_the_transformer_gets_no_mask():
    assert _encode_prompt(ZEROS)("ab") == [2, 3, 1, 0]
    masked = ZEROS | {"arguments": _fact(encoder_attention_mask={"is": "text mask"})}
    assert _encode_prompt(masked)("ab") == [2, 3, 1]


def test_a_prompt_that_the_reference_encodes_in_small_letters():
    lower = ZEROS | {"tokenization.tokenizer": _fact(options={"max_length": 4}, lower=True)}
    assert _encode_prompt(lower)("aB") == [2, 3, 1, 0]


def test_padding_to_a_multiple_is_masked():
    facts = ZEROS | {
        "tokenization.tokenizer": _fact(options={"padding": True, "pad_to_multiple_of": 4}),
        "encoding.text_encoder": _fact(tokenizer="tokenizer", mask=True, first=0, keep="all"),
        "arguments": _fact(encoder_attention_mask={"is": "text mask"}),
    }
    assert prompt_embeds(facts).with_mask


def test_settings_that_the_drafted_transformer_does_not_know_are_listed():
    items = {"base_sequence_length": {"is": "constant", "value": 4096}}
    facts = {
        "arguments": _fact(
            cross_attention_kwargs={"is": "table", "items": items}, return_dict={"is": "constant", "value": False}
        )
    }
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    assert "gives its transformer as cross_attention_kwargs" in writer.text()
    assert "prediction.cross_attention_kwargs" in [entry.name for entry in writer.unresolved]
    items["base_sequence_length"]["value"] = None
    writer = Writer(port_from_answers(ANSWERS), facts, Signature({}, "mx.array"))
    assert "cross_attention_kwargs" not in writer.text()


def test_a_negative_prompt_that_is_not_given_is_zeros():
    encode = _encode_prompt(ZEROS)
    assert encode("", negative=True) == [0, 0, 0, 0]
    assert encode("a", negative=True) == [2, 1, 0, 0] and encode("") == [1, 0, 0, 0]
    assert negative_options(ZEROS) == {"negative": True}


def test_a_wrapper_returns_what_is_inside_it():
    wrapper = "from inner import Inner\n\n\nclass Own:\n    def __init__(self):\n        self.text_model = Inner()\n\n"
    wrapper += (
        "    def __call__(self, input_ids, attention_mask=None):\n        return self.text_model(input_ids=input_ids)\n"
    )
    answers = ANSWERS | {"text_encoder": "own", "text_encoders": [{}, {"kind": "t5"}]}
    classes = {"text_encoder": ("own", "Own"), "text_encoder_2": ("b", "T5")}
    drafted = {"own": wrapper, "inner": DRAFTED}
    writer = PromptWriter(port_from_answers(answers), CLIP_AND_T5, classes, lambda module: drafted.get(module, ""))
    assert "_, pooler_output = text_encoder(input_ids)" in writer.text() and not writer.unresolved


def test_tokens_of_two_encoders_follow_each_other_filled_with_zeros():
    both = lambda ids, mask: (10.0 * ids[:, 2], _vectors(1)(ids))  # noqa: E731

    vectors, whole = _encoded(SIDE_BY_SIDE, both, _vectors(2))

    assert vectors.tolist() == [[[1, 0], [2, 0], [3, 0], [0, 0], [4, 4], [5, 5], [0, 0], [0, 0]]]
    assert whole.tolist() == [30]


@pytest.mark.parametrize(
    "changed",
    [
        {"encoding.text_encoder": {"value": None, "where": ""}},
        {"prompt.pooled_projections": {"value": None, "where": ""}},
        {"prompt.pooled_projections": _fact(states=["text_encoder.no_such_output"])},
        {"encoding.text_encoder": _fact(tokenizer="tokenizer", mask=False, first=0, keep="pooled", outputs=["one"])},
        {"encoding.text_encoder_2": _fact(tokenizer="tokenizer_2", mask=True, first=0, keep="all")},
        {"prompt.encoder_hidden_states": _fact(states=["text_encoder_2.last_hidden_state"], zeros_behind=3)},
    ],
)
def test_an_encoder_that_the_facts_do_not_explain_is_listed(changed):
    answers = ANSWERS | {"text_encoder": "own", "text_encoders": [{}, {"kind": "t5"}]}
    classes = {"text_encoder": ("a", "Own"), "text_encoder_2": ("b", "T5")}
    writer = PromptWriter(port_from_answers(answers), CLIP_AND_T5 | changed, classes, lambda module: DRAFTED)
    text = writer.text()
    assert "raise NotImplementedError" in text and "ModelConfig" not in text and "-> tuple[mx.array, mx.array]" in text
    assert [entry.name for entry in writer.unresolved] == ["prompt_encoder"]


def test_an_encoder_that_no_run_used_is_listed():
    facts = {name: fact for name, fact in CLIP_AND_T5.items() if name != "prompt.pooled_projections"}
    answers = ANSWERS | {"text_encoder": "own", "text_encoders": [{}, {"kind": "t5"}]}
    classes = {"text_encoder": ("a", "Own"), "text_encoder_2": ("b", "T5")}
    writer = PromptWriter(port_from_answers(answers), facts, classes, lambda module: DRAFTED)
    assert "noqa: ARG004" in writer.text()
    assert [entry.name for entry in writer.unresolved] == ["prompt_encoder.text_encoder"]
    gives = {"glyphs": ["text_encoder.last_hidden_state"]}
    facts["quoted.text_encoder"] = _fact(prompt='say "OPEN"', text='Text "OPEN". ', options={}, gives=gives)
    writer = PromptWriter(port_from_answers(answers), facts, classes, lambda module: DRAFTED)
    assert writer.text() and "glyphs has its text_encoder.last_hidden_state" in writer.unresolved[0].candidates[0]


NESTED = {
    "own": "from a.inner import Inner\nclass Own:\n    def __init__(self):\n        self.text_model = Inner()\n",
    "a.inner": "from a.stack import Stack\nclass Inner:\n    def __init__(self):\n        self.embeddings = Other()\n"
    "        self.encoder = Stack()\n        self.final_layer_norm = nn.LayerNorm(4)\n",
    "a.stack": "class Stack:\n    def __init__(self):\n        self.layers = [Layer() for _ in range(3)]\n",
}


def test_the_layers_of_a_drafted_encoder_are_found_at_any_depth():
    stack = layer_stack(lambda module: NESTED.get(module, ""), "own")
    assert stack == LayerStack("text_model.encoder.layers", "text_model.final_layer_norm")
    lines = "\n".join(stack.shortened(-2))
    inner = SimpleNamespace(encoder=SimpleNamespace(layers=[1, 2, 3]), final_layer_norm="norm")
    scope = {"text_encoder": SimpleNamespace(text_model=inner), "copy": copy, "nn": SimpleNamespace(Identity=str)}
    exec(lines, scope)
    assert scope["shortened"].text_model.encoder.layers == [1, 2] and not scope["shortened"].text_model.final_layer_norm
    assert inner.encoder.layers == [1, 2, 3] and inner.final_layer_norm == "norm"


@pytest.mark.parametrize("more", ["self.blocks = [1]", "self.norm = nn.RMSNorm(4)"])
def test_layers_that_could_be_several_are_not_chosen(more):
    source = NESTED | {"a.inner": f"{NESTED['a.inner']}        {more}\n"}
    assert layer_stack(lambda module: source.get(module, ""), "own") is None


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


def test_an_input_of_zeros_is_left_out_where_it_may_be_and_listed():
    assert arguments._zeros([_Tensor([0, 0]), _Tensor([0, 0])]) == {"is": "zeros", "shape": [2]}
    for other in ([0, 1], [0, 0, 0]):
        assert arguments._zeros([_Tensor([0, 0]), _Tensor(other)]) is None
    facts = {"guidance": _fact(formula="conditional"), "arguments": _fact(glyphs={"is": "zeros", "shape": [1, 128]})}
    for optional, passed in ((True, "transformer()"), (False, "raise NotImplementedError")):
        port = port_from_answers(ANSWERS)._replace(variants=("txt2img",))
        writer = Writer(port, facts, Signature({"glyphs": optional}, "mx.array"))
        assert passed in writer.text()
        assert [entry.name for entry in writer.unresolved] == ["prediction.glyphs"]


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


def test_a_mask_with_more_and_the_image_is_written_as_such():
    given = Given("NovaPrediction", PromptEmbeds(with_mask=True), pixels=8)
    rule = {"is": "text mask", "extra": 1, "image": 2, "axes": 4, "dtype": "int"}
    text = argument(rule, given)
    scope = {"mask": np.array([[1, 1, 0, 0]]), "embeddings": np.zeros((1, 4, 2)), "height": 2, "width": 4, "mx": np}
    for line in list(given.extra):
        exec(line, scope)
    found = eval(text, scope)
    assert found.shape == (1, 1, 1, 6) and found.reshape(-1).tolist() == [1, 1, 1, 0, 1, 1]


def test_a_second_guidance_that_is_off_makes_no_second_prediction():
    facts = {
        "guidance": _fact(formula=CFG), "guidance_argument": _fact(argument="guidance"), "negative": _fact(guided="guidance > 1", default=None),
        "defaults": _fact(guidance_scale=3.5, true_cfg_scale=1.0),
    }  # fmt: skip
    port = port_from_answers(ANSWERS)._replace(variants=("txt2img",))
    writer = Writer(port, facts, Signature({}, "mx.array"))
    assert "return False" in writer.text() and f"return {CFG}" in writer.text() and not writer.unresolved
    facts["defaults"]["value"]["true_cfg_scale"] = 4.0
    assert "return guidance > 1.0" in Writer(port, facts, Signature({}, "mx.array")).text()


def test_each_of_several_arguments_about_the_prompt_is_passed():
    facts = CLIP_AND_T5 | {
        "arguments": _fact(encoder_hidden_states={"is": "prompt"}, pooled_projections={"is": "prompt"})
    }
    names = {"encoder_hidden_states": False, "pooled_projections": False}
    text = Writer(port_from_answers(ANSWERS), facts, Signature(names, "mx.array")).text()
    assert "encoder_hidden_states, pooled_projections = prompt_embeds" in text
    assert "prompt_embeds: tuple[mx.array, mx.array]," in text
