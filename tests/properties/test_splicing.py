"""For any answers, Python and TOML read back what wiring has written, and unwiring restores every byte."""

from __future__ import annotations

import ast
import tomllib

from hypothesis import assume, given
from hypothesis import strategies as st
from mflux_port.errors import PortError
from mflux_port.port.port import Port, port_from_answers
from mflux_port.wiring.surfaces import defaults, model_config, pyproject

from fuzz.hosts import HOSTS
from fuzz.splicing import ANSWERS, Files, applied, planned, unwired
from tests.properties import answers as made

_ENDINGS = st.sampled_from([b"\n", b"\r\n"])


@given(made.sound(), st.sampled_from(HOSTS), _ENDINGS, st.booleans(), st.booleans())
def test_any_names_are_wired_and_unwired(answers, host, ending, complete, marked):
    files = {name: _host_text(text, ending, complete, marked and name.endswith(".py")) for name, text in host.items()}
    port, wired = _wired(files, answers)
    for name in files:
        if name.endswith(".py"):
            ast.parse(wired[name])
    assert _scripts(wired) == _scripts(files) | port.scripts
    registry = _registry(wired)
    for checkpoint in port.checkpoints:
        fields = registry.pop(checkpoint.key)
        assert (fields["aliases"], fields["model_name"]) == (list(checkpoint.aliases), checkpoint.hf_repo)
    assert registry == _registry(files)
    assert _steps(wired).items() >= {checkpoint.key: checkpoint.steps for checkpoint in port.checkpoints}.items()
    assert not planned(wired, port).files
    assert unwired(wired, port) == files


@given(made.sizes, made.plain)
def test_any_values_are_wired_and_unwired(sizes, value):
    entry = {"key": "nova", "hf_repo": "acme/Nova", "transformer_overrides": sizes, "sigma_base_shift": value}
    config = model_config.FILE
    # A ModelConfig that takes both.
    host = HOSTS[1] | {
        config: HOSTS[1][config].replace(
            b"        priority", b"        transformer_overrides,\n        sigma_base_shift,\n        priority"
        )
    }
    port, wired = _wired(host, {**ANSWERS, "checkpoints": [entry], "variants": ["txt2img"]})
    fields = _registry(wired)["nova"]
    assert fields["transformer_overrides"] == sizes and fields["sigma_base_shift"] == value
    assert unwired(wired, port) == host


@given(made.sound(), made.sound(), st.sampled_from(HOSTS))
def test_changed_answers_are_rewired(first, second, host):
    _, wired = _wired(host, first)
    port = _port(second)
    try:
        later = applied(wired, planned(wired, port))
    except PortError:  # a name that another draw already uses
        assume(False)
    assert not planned(later, port).files
    assert unwired(later, port) == host


def _host_text(text: bytes, ending: bytes, complete: bool, marked: bool) -> bytes:
    text = text if complete else text.rstrip(b"\n")
    return (b"\xef\xbb\xbf" if marked else b"") + text.replace(b"\n", ending)


def _port(answers: dict) -> Port:
    try:
        return port_from_answers(answers)
    except PortError:
        assume(False)


def _wired(files: Files, answers: dict) -> tuple[Port, Files]:
    port = _port(answers)
    try:
        plan = planned(files, port)
    except PortError as error:
        assert str(error).isprintable()
        assume(False)
    return port, applied(files, plan)


def _scripts(files: Files) -> dict:
    return tomllib.loads(files[pyproject.FILE].decode())["project"]["scripts"]


def _registry(files: Files) -> dict[str, dict]:
    table = _table(files[model_config.FILE], model_config.TABLE)
    return {
        key.value: {keyword.arg: ast.literal_eval(keyword.value) for keyword in value.keywords}
        for key, value in zip(table.keys, table.values, strict=True)
    }


def _steps(files: Files) -> dict:
    return ast.literal_eval(_table(files[defaults.FILE], "MODEL_INFERENCE_STEPS"))


def _table(data: bytes, name: str) -> ast.Dict:
    nodes = [node for node in ast.parse(data).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return next(node.value for node in nodes if name in ast.unparse(node).split("=")[0])
