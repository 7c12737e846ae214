"""copier.yml's validators and ``mflux_port.port`` accept the same answers: both refuse the same ones.

An answer that only Copier refused would be replaced by the question's default in an update, silently. An answer that
only ``mflux_port`` refused would be rendered, and then not wired.
"""

from __future__ import annotations

import functools
import keyword
from pathlib import Path
from unittest import mock

import copier._user_data
import jinja2
import pytest
from copier._main import Worker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mflux_port.errors import PortError
from mflux_port.port.answer_rules import answer_rules, choices
from mflux_port.port.port import port_from_answers
from mflux_port.template.project import owned_paths

from tests.template import rendering

ENTRY = {"key": "nova-2.1", "hf_repo": "acme/Nova"}
ANSWERS = {
    "model": "nova",
    "class_name": "Nova",
    "display_name": "Nova",
    "cli_name": "nova",
    "hf_repo": "acme/Nova",
    "reference_pipeline": "NovaPipeline",
    "steps": 8,
    "guidance": 4.0,
    "supports_guidance": True,
    "checkpoints": [ENTRY],
    "variants": ["txt2img"],
    "vae": "own",
    "text_encoder": "own",
    "scheduler": "linear",
    "img2img": True,
    "negative_prompt": False,
    "lora": True,
    "training": False,
    "mflux_api": "0.24",
}
TEXTS = [name for name in ANSWERS if "pattern" in answer_rules().get(name, {})]
CHOICES = ("vae", "text_encoder", "scheduler", "mflux_api")
FLAGS = [name for name, value in ANSWERS.items() if isinstance(value, bool)]

# Texts close to a rule's limits, and arbitrary text.
_texts = st.one_of(
    st.sampled_from(["", "a", "A", "5", "a.b", "a..b", "a-b", "a_b", "a__b", "a-", ".a", "class", "None", "common", "edit"]),
    st.sampled_from(["nova", "nova-edit", "nova_edit", "Flux2", "Config", "VAE", "acme/Nova", "a/b", "a/..", "1" * 40]),
    st.sampled_from(["a\n", "ä", "a b", 'a"b', "a\\b", "{{ 7 }}", "\u2028", "\x7f", "a" * 40, "a" * 41, "a" * 51, "A" * 61]),
    st.from_regex(r"[a-zA-Z0-9._/ -]{1,12}", fullmatch=True),
    st.text(max_size=12),
)
_numbers = st.sampled_from([0, 1, 77, 78, 100, 1000, 1001, -1, 10_000, 10_001, 10**6, 10**6 + 1, 10**19]) | st.sampled_from(
    [0.0, 0.5, 1.0, 4.5, 100.0, 100.5, 2.5e18, float("nan"), float("inf")]
)
_scalars = st.none() | st.booleans() | _numbers | _texts
_values = st.recursive(
    _scalars | st.dates() | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts | st.integers(0, 3), inner, max_size=3),
    max_leaves=6,
)
_sizes = st.dictionaries(
    st.sampled_from(["num_layers", "num_hidden_layers", "hidden_size", "class", "a b", "ä", 5]) | _texts,
    _numbers | _values,
    max_size=2,
)
_folders = st.sampled_from(["text_encoder", "text_encoder_2", "vae", "unet", "a/b", "", "a" * 61]) | _texts | _values
_kinds = st.sampled_from([*choices("text_encoder"), "siglip"]) | _values
_encoder = st.fixed_dictionaries({}, optional={"kind": _kinds, "folder": _folders, "tokenizer": _folders, "name": _texts})
_sound_encoders = st.sampled_from(
    [
        [{"kind": "own"}, {"kind": "t5"}],
        [{}, {"kind": "clip", "folder": "clip"}],
        [{"folder": "qwen", "tokenizer": "words"}, {"kind": "own"}, {"kind": "t5"}],
    ]
)
_of_each = st.dictionaries(st.sampled_from(["text_encoder", "text_encoder_2", "text_encoder_5"]), _sizes | _values, max_size=2)
_FIELDS = {
    "key": st.sampled_from(["nova", "nova-edit", "nova-2-1", "pro", "class", "5a"]) | _texts | _values,
    "hf_repo": _texts | _values,
    "aliases": st.lists(_texts, max_size=2) | _values,
    "steps": _numbers | _values,
    "guidance": _numbers | _values,
    "supports_guidance": st.booleans() | _values,
    "variant": st.sampled_from(["txt2img", "edit", "both"]) | _texts | _values,
    "cli_name": st.sampled_from(["nova", "nova-edit", "pro", ""]) | _texts | _values,
    "revision": st.sampled_from(["1" * 40, "g" * 40, "main", int("1" * 40)]) | _values,
    "max_sequence_length": _numbers | _values,
    "transformer_overrides": _sizes | _values,
    "text_encoder_overrides": _sizes | _of_each | _values,
    "sigma_base_shift": _values,
    "custom": _values,
}

# Each answer is valid; they may still contradict one another.
_sound_fields = st.fixed_dictionaries(
    {},
    optional={
        "supports_guidance": st.booleans(),
        "guidance": st.sampled_from([1.0, 4.5]),
        "variant": st.sampled_from(["txt2img", "edit", "both"]),
        "cli_name": st.sampled_from(["nova", "nova-edit", "pro"]),
        "max_sequence_length": st.sampled_from([64, 128]),
        "sigma_base_shift": st.just(0.5),
        "transformer_overrides": st.just({"num_layers": 2, "axes": [1, 2]}),
    },
)


@st.composite
def _entries(draw) -> object:
    if draw(st.integers(0, 19)) == 0:
        return draw(_values)
    entries = []
    for key in draw(st.lists(st.sampled_from(["nova", "pro", "nova-2.1", "nova-2-1"]), min_size=1, max_size=2)):
        names = draw(st.lists(st.sampled_from(sorted(_FIELDS)), max_size=1))
        if draw(st.integers(0, 2)) == 0:
            entries.append({"key": key, "hf_repo": "acme/Nova"} | draw(_sound_fields))
            continue
        entries.append({"key": key, "hf_repo": "acme/Nova"} | {name: draw(_FIELDS[name]) for name in names})
    if draw(st.integers(0, 19)) == 0:
        entries[-1].pop(draw(st.sampled_from(["key", "hf_repo"])))
    return entries


_CHANGES = {
    **dict.fromkeys(TEXTS, _texts),
    **{name: st.sampled_from([*choices(name), "none", "Own"]) for name in CHOICES},
    **dict.fromkeys(FLAGS, st.booleans()),
    "steps": _numbers.filter(lambda number: isinstance(number, int)),
    "guidance": _numbers.filter(lambda number: isinstance(number, float)),
    "checkpoints": _entries(),
    "variants": st.sampled_from([["txt2img"], ["txt2img", "edit"], ["edit"], []]),
    "text_encoders": _sound_encoders | st.lists(_encoder, max_size=5) | _values.filter(lambda value: value is not None),
    "folders": st.dictionaries(st.sampled_from(["transformer", "vae", "unet"]), _folders, max_size=2)
    | _values.filter(lambda value: value is not None),
    "size_multiple": st.sampled_from([16, 32, 48, 128, 24, 0, -16, 1040]),
    "skip_quantization": st.lists(st.sampled_from(["vae", "text_encoder", "text_encoder_2", "transformer"]) | _values, max_size=2)
    | _values.filter(lambda value: value is not None),
}


@st.composite
def changed_answers(draw) -> dict:
    """Valid answers, except for a few that may be any value of the question's type."""
    questions = [*(name for name in _CHANGES if name not in TEXTS), *draw(st.sampled_from([[], TEXTS]))]
    names = draw(st.lists(st.sampled_from(questions), max_size=3, unique=True))
    if draw(st.booleans()):
        names.append("checkpoints")
    return ANSWERS | {name: draw(_CHANGES[name]) for name in names}


@pytest.fixture(scope="module")
def refusal_of_copier(tmp_path_factory):
    """``refusal_of_copier(answers)``: Copier's message when it gets these answers; nothing is rendered."""
    # Validators do not expect an mflux checkout in a folder with that name.
    home = tmp_path_factory.mktemp("copier._main.rules")
    worker = Worker(str(rendering.template_copy(home / "template")), home / "none", defaults=True, quiet=True, unsafe=True)
    parse = functools.cache(copier._user_data.parse_yaml_string)

    def refusal(answers: dict) -> str:
        worker.data = answers
        with (
            mock.patch.object(jinja2.Environment, "compile", rendering.compile_once),
            mock.patch.object(copier._user_data, "parse_yaml_string", parse),
        ):
            try:
                worker._ask()
            except ValueError as error:
                return str(error)
        return ""

    return refusal


@settings(max_examples=settings.get_profile(settings.get_current_profile_name()).max_examples * 4)
@given(changed_answers())
@example(ANSWERS)
@example({**ANSWERS, "vae": "dc"})
@example({**ANSWERS, "checkpoints": [{**ENTRY, "aliases": 0}]})
@example({**ANSWERS, "checkpoints": [{**ENTRY, "revision": int("1" * 40)}]})
@example({**ANSWERS, "checkpoints": [{**ENTRY, "max_sequence_length": 128}], "text_encoder": "clip"})
@example({**ANSWERS, "training": True, "lora": False})
@example({**ANSWERS, "text_encoders": [{}, {"kind": "t5"}]})
@example({**ANSWERS, "text_encoders": [{}, {"kind": "t5", "folder": "vae"}]})
@example({**ANSWERS, "text_encoders": [{}] * 5})
@example({**ANSWERS, "checkpoints": [{**ENTRY, "text_encoder_overrides": {"text_encoder": {}}}]})
@example({**ANSWERS, "folders": {"transformer": "unet", "vae": "unet"}})
@example({**ANSWERS, "size_multiple": 24})
@example({**ANSWERS, "skip_quantization": ["vae", "text_encoder"]})
@example({**ANSWERS, "skip_quantization": ["text_encoder_2"]})
def test_both_accept_the_same_answers(refusal_of_copier, answers):
    told = refusal_of_copier(answers)
    try:
        port_from_answers(answers)
        refused = ""
    except PortError as error:
        refused = str(error)
    assert bool(told) == bool(refused), (told, refused)


def test_keyword_list_equals_pythons():
    assert set(rendering.hidden_answer("answer_rules", "python_words")) == set(keyword.kwlist)


def test_second_copy_keeps_the_porters_files(tmp_path):
    data = {"model": "nova", "hf_repo": "acme/Nova"}
    template = rendering.template_copy(tmp_path / "copier._main.template")
    worker = Worker(str(template), tmp_path / "copier._main.none", data=data, defaults=True, quiet=True, unsafe=True)
    worker._ask()
    assert owned_paths("nova") and all(worker.match_skip(Path(name)) for name in owned_paths("nova"))
    assert worker.match_skip(Path("src/mflux/models/nova/model/nova_transformer/attention.py"))
    assert not worker.match_skip(Path("src/mflux/models/nova/nova_initializer.py"))
