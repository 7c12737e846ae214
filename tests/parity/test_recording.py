"""The file of a recording: written, read back, thinned and refused."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

RANDOM = np.random.default_rng(3)


def _values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def test_recording_returns_what_was_written(tmp_path):
    from parity.record.recording import Recorder, Recording

    path, values = tmp_path / "run.safetensors", _values(3, 4, 5)
    with Recorder(path, {"seed": 1}) as sink:
        sink.add("vae_decode/vae/in/0", values)
        sink.add("text/ids/in/0", np.arange(6))
        sink.repeat("vae_decode/vae.decoder/in/0", "vae_decode/vae/in/0")
    found = Recording(path)
    assert found.facts == {"seed": 1}
    np.testing.assert_array_equal(found.get("vae_decode/vae.decoder/in/0"), values)
    np.testing.assert_array_equal(found.get("text/ids/in/0"), np.arange(6))
    assert found.names("vae_decode") == ["vae_decode/vae/in/0", "vae_decode/vae.decoder/in/0"]


@pytest.mark.parametrize(("module", "words"), [("quoted", True), ("plain", False)])
def test_a_pipeline_that_reads_quoted_words_is_recorded_with_some(tmp_path, monkeypatch, module, words):
    from parity.record.usual_prompt import usual_prompt

    text = f"def {'extract_glyph' if words else 'calculate'}_text(prompt):\n    pass\n\nclass Pipeline:\n    pass\n"
    (tmp_path / f"{module}_pipeline.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert ('"' in usual_prompt(importlib.import_module(f"{module}_pipeline").Pipeline)) == words


def test_table_of_contents_may_outgrow_its_space(tmp_path):
    from parity.record.recording import Recorder, Recording

    path, values = tmp_path / "run.safetensors", [_values(3, n) for n in range(40)]
    with Recorder(path, {"seed": 1}, room=64) as sink:
        for n, one in enumerate(values):
            sink.add(f"vae_decode/vae.layers.{n}/out/0", one)
    found = Recording(path)
    for n, one in enumerate(values):
        np.testing.assert_array_equal(found.get(f"vae_decode/vae.layers.{n}/out/0"), one)


def test_recording_refuses_nan_and_leaves_no_file(tmp_path):
    from parity.errors import ParityError
    from parity.record.recording import Recorder

    for name, cure in (("a/b/in/0", "look at its weights"), ("text_encoder/b/out/0", "--negative-prompt a word")):
        facts = {"prompt": "a fox", "negative_prompt": ""}
        with pytest.raises(ParityError, match=f"NaN.*{cure}"), Recorder(tmp_path / "run.safetensors", facts) as sink:
            sink.add(name, np.array([1.0, np.nan], np.float32))
    assert not list(tmp_path.iterdir())


def test_a_large_tensor_is_thinned(tmp_path):
    from parity.record.recording import Recorder, Recording

    values = _values(40, 50)
    with Recorder(tmp_path / "run.safetensors", {}, cap=100) as sink:
        sink.add("a/b/out/0", values)
    event = Recording(tmp_path / "run.safetensors").event("a/b/out/0")
    assert event.shape == (40, 50)
    np.testing.assert_array_equal(
        Recording(tmp_path / "run.safetensors").get("a/b/out/0"), values.reshape(-1)[:: event.stride]
    )


def test_bfloat16_rounds_to_the_nearest():
    from parity.record.recording import from_bfloat16, to_bfloat16

    values = _values(1000)
    assert np.abs(from_bfloat16(to_bfloat16(values)) / values - 1).max() <= 2**-8


@pytest.mark.parametrize(
    ("claim", "facts"),
    [
        ("lora", {}),
        ("lora", {"lora": {"files": {}, "schemes": {"timesteps": {}}}}),  # of --training
        ("training", {"lora": {"files": {"kohya": {}}}}),
        ("training", {"lora": {"files": {}, "losses": {}}}),  # before timesteps were compared
        ("image", {"image": []}),
    ],
)
def test_recording_of_another_claim_is_refused(tmp_path, claim, facts):
    from parity.errors import ParityError
    from parity.record.recording import Recorder, Recording

    path = tmp_path / "run.safetensors"
    with Recorder(path, facts) as sink:
        sink.add("vae_decode/vae/in/0", _values(3))
    with pytest.raises(ParityError, match=f"run.safetensors has nothing to judge --{claim} by: it was made without"):
        Recording(path, f"run_reference.py --{claim}").verify_claim(claim)
    Recording(path).verify_claim("edit")
