"""No text reaches a shared file or a path unchecked."""

from __future__ import annotations

import keyword
import re

from hypothesis import assume, given
from hypothesis import strategies as st
from mflux_port.errors import PortError
from mflux_port.port.port import port_from_answers

from fuzz.splicing import ANSWERS
from tests.properties import answers as made

_NAMED = ("model", "class_name", "display_name", "cli_name", "hf_repo", "reference_pipeline", "vae", "scheduler")
_ENTRY = ("key", "hf_repo", "variant", "cli_name", "revision")


@given(st.sampled_from(_NAMED), made.texts)
def test_a_name_is_refused_in_one_line_or_harmless(name, text):
    _refused_or_harmless({**ANSWERS, name: text}, text)


@given(st.sampled_from(_ENTRY), made.texts)
def test_a_name_of_a_checkpoint_is_refused_in_one_line_or_harmless(name, text):
    entry = {"key": "nova", "hf_repo": "acme/Nova", name: text}
    _refused_or_harmless({**ANSWERS, "checkpoints": [entry]}, text)


@given(made.texts)
def test_an_alias_is_refused_in_one_line_or_harmless(text):
    entry = {"key": "nova", "hf_repo": "acme/Nova", "aliases": [text]}
    _refused_or_harmless({**ANSWERS, "checkpoints": [entry]}, text)


def _refused_or_harmless(answers: dict, text: str) -> None:
    try:
        port_from_answers(answers)
    except PortError as error:
        assert str(error).isprintable()
        return
    assert not re.search(r"""["'`\\{}\[\]()$<>|&;#*?\s]""", text.replace(" ", "")), repr(text)
    assert text.isascii() and ".." not in text and not text.startswith(("/", "-"))


@given(made.sound())
def test_derived_names_are_valid(answers):
    port = _port(answers)
    for checkpoint in port.checkpoints:
        assert checkpoint.factory.isidentifier() and not keyword.iskeyword(checkpoint.factory)
        assert checkpoint.aliases[0] == checkpoint.key and len(set(checkpoint.aliases)) == len(checkpoint.aliases)
        assert all(part.isidentifier() for part in port.variant_module(checkpoint.variant).split("."))
    for name, target in port.scripts.items():
        module, _, function = target.partition(":")
        assert re.fullmatch(r"[a-z0-9.-]+", name) and function == "main"
        assert all(part.isidentifier() for part in module.split("."))


def _port(answers: dict):
    try:
        return port_from_answers(answers)
    except PortError:
        assume(False)
