"""mflux's own ports in a few settings: no stage or module of a correct port is reported as wrong.

All families in all settings: ``python -m tests.parity.healthy``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from mflux_port.checkpoint.headers import read_header

from tests.parity.families import PORTING
from tests.parity.healthy import matrix
from tests.parity.healthy.families import FAMILIES
from tests.parity.healthy.references import REFERENCES
from tests.parity.healthy.settings import FEW, WHOLE

pytestmark = pytest.mark.full
SMALL = ("flux", "qwen", "fibo")  # two encoders and T5; two calls a step; two predictions in one call
BUGS = {"qwen": ("guidance without its norm", "exact GELU"), "fibo": ("predictions exchanged", "one layer further")}
VARIANTS = '''
from ports import Port  # before mflux's modules: it settles their sizes
import mlx.core as mx
from mflux.models.flux.model.flux_text_encoder.prompt_encoder import PromptEncoder
from mflux.models.flux.model.flux_transformer.time_text_embed import TimeTextEmbed


class WithoutEncoders(Port):
    """Its text encoders are not written yet: two arrays have to stand in for what they return."""

    def __init__(self, **more):
        super().__init__(**more)
        PromptEncoder.encode_prompt = staticmethod(lambda prompt, **rest: self._encode_prompt(prompt)[::-1])

    def _encode_prompt(self, prompt: str) -> tuple[mx.array, mx.array]:
        raise NotImplementedError("the text encoders are not written yet")


class WithoutPooled(Port):
    """Its transformer is never given what the second encoder makes of the prompt."""

    def __init__(self, **more):
        super().__init__(**more)
        TimeTextEmbed.__call__ = lambda own, time, pooled, guidance: own.timestep_embedder(own._time_proj(time))
        given = type(self.transformer).__call__
        type(self.transformer).__call__ = lambda own, **named: given(own, **{**named, "pooled_prompt_embeds": mx.zeros((0,))})
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("healthy")


@pytest.fixture(scope="module")
def judged(folder) -> Callable[[str], list[matrix.Judged]]:
    made: dict[str, list[matrix.Judged]] = {}

    def judge(name: str) -> list[matrix.Judged]:
        if name not in made:
            made[name] = list(matrix.judge_family(name, FEW, folder))
        return made[name]

    return judge


def test_a_twin_has_the_names_and_the_index_of_real_files(judged, folder):
    """transformers 5 writes CLIP's tensors without the prefix that the released files have."""
    judged("flux")
    encoder = folder / "flux/artifacts/tiny/text_encoder"
    assert all(name.startswith("text_model.") for name in read_header(encoder / "model.safetensors"))
    assert (encoder / "model.safetensors.index.json").is_file()


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_named(judged, folder, name):
    """A sample of the bugs in these families, judged by the recording that the correct port passes."""
    judged(name)
    home = folder / name
    for end in (".safetensors", ".gaps.json"):
        shutil.copy(home / f"artifacts/{FEW[0].slug}{end}", home / f"artifacts/guided{end}")
    rows = {row["bug"]: row for row in matrix.run_bugs(home, name, "float32", *BUGS[name])}
    assert set(rows) == set(BUGS[name])
    for row in rows.values():
        assert any(fnmatchcase(row["answer"] or "", pattern) for pattern in row["expected"]), row
        assert re.search(row["cause"], row["line"]), row


@pytest.mark.parametrize("name", SMALL)
def test_correct_port_raises_no_alarm(judged, name):
    rows = judged(name)
    assert len(rows) == 2 * len(FEW) and all(row.stages == 8 for row in rows)
    assert not [(row.dtype, str(row.setting), row.alarms) for row in rows if row.alarms]


def test_differing_default_length_of_the_reference_is_named(judged, folder):
    """diffusers gives FLUX.1 512 tokens by default, the port takes the model's own 256."""
    judged("flux")
    home, path = folder / "flux", folder / "flux/artifacts/usual.safetensors"
    flags = ["--size", "64", "--steps", "2", "--model", str(home / "artifacts/tiny"), "--output", str(path)]
    assert matrix.run(home, "run_reference.py", [flags])[0]["code"] == 0
    said = matrix.run(home, "run_mflux.py", [["--port", "ports:Port", "--reference", str(path)]])[0]["text"]
    stages = {stage: (state, note) for stage, state, note in matrix.STAGE.findall(said)}
    assert stages["text_encoder"][0] == "FAIL", said
    for stage in ("text_encoder", "transformer", "loop"):
        assert "record with --call max_sequence_length=256" in stages[stage][1], said
    assert {stages[stage][0] for stage in ("transformer", "loop")} == {"not run"}, said
    assert all(line.startswith("look at text_encoder") for line in said.splitlines() if line.startswith("look at"))


def test_input_that_the_port_never_uses_is_named(judged, folder):
    judged("flux")
    home = folder / "flux"
    (home / "variants.py").write_text(VARIANTS)
    path = home / "artifacts" / f"{FEW[0].slug}.safetensors"
    said = matrix.run(home, "run_mflux.py", [["--port", "variants:WithoutPooled", "--reference", str(path)]])[0]["text"]
    stages = {stage: (state, note) for stage, state, note in matrix.STAGE.findall(said)}
    assert stages["transformer"][0] == "FAIL", said
    assert re.search(r"not passed to it: pooled_projections \(.*\[1, 80\]\)", stages["transformer"][1]), said


def test_a_tuple_of_embeddings_has_stand_ins(judged, folder):
    judged("flux")
    home = folder / "flux"
    (home / "variants.py").write_text(VARIANTS)
    path = home / "artifacts" / f"{FEW[1].slug}.safetensors"
    said = matrix.run(home, "run_mflux.py", [["--port", "variants:WithoutEncoders", "--reference", str(path)]])[0][
        "text"
    ]
    states = {stage: state for stage, state, _ in matrix.STAGE.findall(said)}
    assert states["text_encoder"] == "not ported", said
    assert {states[stage] for stage in ("vae_decode", "vae_encode", "transformer", "guidance", "scheduler")} == {
        "pass"
    }, said


def test_attention_without_a_scale_passes_at_its_real_sizes(script):
    done = script(PORTING, Path(__file__).with_name("check_t5.py"), PORTING)
    rows = {row["port"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["right"]["error"] <= rows["right"]["limit"] <= 1e-4, done.stderr
    assert rows["one bias"]["error"] > 100 * rows["one bias"]["limit"]


def test_settings_cover_all_pairs():
    pairs = {
        (a, getattr(s, a), b, getattr(s, b))
        for s in WHOLE
        for a, b in [("size", "guidance"), ("size", "level"), ("guidance", "level")]
    }
    assert len(pairs) == 27
    assert {setting.steps for setting in WHOLE} == {2, 6}
    assert len({(setting.steps, setting.level) for setting in WHOLE}) == 6
    assert set(FAMILIES) <= set(REFERENCES) and len(FAMILIES) >= 10
