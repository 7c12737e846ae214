"""Correct ports pass in every setting, and a single mistake is located: packed loops, guidance, few and many steps.

Expected answers come before a run; where the first run showed that a variant was itself wrong, both were corrected.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parity.families import PORTS

pytestmark = pytest.mark.full
HERE = Path(__file__).parent
STAGES = {"vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "end_to_end"}
AFTER = {"loop", "end_to_end"}  # what runs free also shows earlier errors
NEGATIVE = ("--negative-prompt", "a blurry dog in a rain")
SETTINGS = {  # a family, and the arguments of its recording
    "ernie_image": ("ernie_image", ("--size", "96x64", "--steps", "6", "--guidance", "3.5", *NEGATIVE)),
    # 16 rows of a patch's 64 numbers, or 16 channels of an 8x8 picture; and 1.0, which means no guidance in mflux
    "z_image": ("z_image", ("--blocks", "--size", "64", "--steps", "3", "--guidance", "1")),
    "z_image_base": ("z_image", ("--size", "64x96", "--steps", "4", "--guidance", "3.5", *NEGATIVE)),
    "flux2": ("flux2", ("--size", "64x96", "--steps", "5", "--guidance", "4")),
}


@pytest.fixture(scope="module")
def judged(twin, script) -> Callable[..., dict[str, dict]]:
    """``judged("flux2", "float32", "Klein")``: the findings about each port, by its class."""
    made: dict[str, Path] = {}

    def recording(name: str) -> tuple[Path, Path]:
        family, flags = SETTINGS[name]
        home = twin(family)
        path = home / "artifacts" / f"setting_{name}.safetensors"
        if name not in made:
            shutil.copy(HERE / "port_variants.py", home)
            done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *flags, "--output", path)
            assert done.returncode == 0, done.stderr
            made[name] = path
        return home, path

    def judge(name: str, dtype: str, *ports: str, bisect: bool = False) -> dict[str, dict]:
        home, path = recording(name)
        found = [port if ":" in port else f"port_variants:{port}" for port in ports]
        done = script(home, HERE / "run_variants.py", home, path, dtype, "yes" if bisect else "no", *found)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {row["port"]: row for row in rows}

    return judge


def _failed(row: dict) -> set[str]:
    assert set(row["stages"]) == STAGES
    return {stage for stage, status in row["stages"].items() if status != "pass"}


def test_correct_ports_pass_and_each_mistake_is_named(judged):
    """Two prompts in one batch, 6 steps: both have the reference's own inputs in the middle steps.

    Guidance is judged in all steps, so one that keeps a state is given the reference's predictions in each.
    """
    ports = ("Ernie", "PackedErnie", "ErnieFromTheConditional", "ErnieWithoutNegative", "ErnieWithOtherSigmas")
    rows = judged("ernie_image", "float32", *ports)
    for name in ("Ernie", "PackedErnie"):
        assert not _failed(rows[name]) and rows[name]["answer"] is None, rows[name]
    wrong = rows["ErnieFromTheConditional"]
    assert _failed(wrong) == {"guidance", *AFTER} and wrong["answer"] == "predict"
    assert "the port computes c + g(c - u), the reference u + g(c - u) (g = 3.5)" in wrong["line"]
    alone = rows["ErnieWithoutNegative"]
    assert _failed(alone) == {"guidance", *AFTER} and alone["answer"] == "predict"
    assert "the reference combines 2 predictions a step, the port makes 1" in alone["line"]
    sigmas = rows["ErnieWithOtherSigmas"]
    assert _failed(sigmas) == {"scheduler", *AFTER} and sigmas["answer"] == "scheduler"


def test_a_packed_loop_passes_in_bfloat16(judged):
    row = judged("ernie_image", "bfloat16", "PackedErnie")["PackedErnie"]
    assert not _failed(row) and row["answer"] is None, row


def test_square_latents_without_guidance_pass(judged):
    rows = judged("z_image", "float32", PORTS["z_image"].port, "PackedZImage", bisect=True)
    for row in rows.values():
        assert not _failed(row) and row["answer"] is None, row
        assert max(error for error, _ in row["figures"].values()) < 2e-5


def test_guidance_in_two_calls_passes_against_one_batch(judged):
    """The reference predicts both prompts in one call, the port in two, from the conditional one."""
    row = judged("z_image_base", "float32", "ZImageBase")["ZImageBase"]
    # The port's schedule differs, which is a true difference: it fails only its own stage.
    assert _failed(row) == {"scheduler", *AFTER} and row["answer"] == "scheduler", row


@pytest.mark.parametrize(
    "name, port", [("z_image_base", "ZImageBaseWithoutEncoder"), ("ernie_image", "ErnieWithoutEncoder")]
)
def test_both_prompts_have_stand_ins_if_the_encoder_is_not_written(judged, name, port):
    """In the second family, the reference pads the shorter prompt and the stand-in has to leave the padding out."""
    row = judged(name, "float32", port)[port]
    assert row["stages"]["text_encoder"] == "not ported", row
    assert {row["stages"][stage] for stage in ("vae_decode", "transformer", "guidance")} == {"pass"}, row


def test_wrong_encoder_fails_only_its_own_stage(judged):
    """4 steps: each has the reference's embeddings, not only the first and the last."""
    row = judged("z_image", "float32", "ZImageWithAnotherEncoder")["ZImageWithAnotherEncoder"]
    assert _failed(row) == {"text_encoder", "end_to_end"}, row


def test_middle_steps_use_the_references_embeddings(judged):
    """The released port encodes " " where the reference encodes "": its only difference is in the text encoder."""
    rows = judged("flux2", "float32", PORTS["flux2"].port, "KleinWithAnEmptyNegative")
    empty = rows["KleinWithAnEmptyNegative"]
    assert _failed(rows["Flux2Klein"]) == {"text_encoder", "end_to_end"}, rows["Flux2Klein"]
    assert _failed(empty) == {"text_encoder", *AFTER}, empty  # there is no place for the reference's embeddings
    assert all("negative prompt" in row["notes"]["text_encoder"] for row in rows.values())
    assert "[1, 0, " in empty["notes"]["text_encoder"]


def test_port_with_hard_coded_sizes_is_refused_before_it_allocates_them(judged, twin, script):
    judged("z_image", "float32")  # the recording
    home = twin("z_image")
    flags = (
        "--port",
        "port_variants:ZImageWithSizesWrittenDown",
        "--reference",
        "artifacts/setting_z_image.safetensors",
    )
    done = script(home, "run_mflux.py", *flags)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and said.startswith("parity: the port's spare (Linear) has 10000 million numbers"), said
    assert "SIZES in run_mflux.py" in said
