"""Wrong input gives one line and exit code 2; a port that is not finished is judged as far as it goes."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def stages(recorded):
    """Z-Image's folder with a small recording of the stages and of one module."""
    return recorded("z_image", "--stages", "--no-calibration", output="reference")


def _refused(done, *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("parity: ") and "Traceback" not in done.stderr
    assert all(word in last for word in words), last


def test_folder_that_is_not_a_checkpoint(twin, script, tmp_path):
    home = twin("z_image")
    _refused(script(home, "run_reference.py", "--model", tmp_path), "model_index.json", "--model")
    _refused(script(home, "make_tiny_checkpoint.py", "--model", tmp_path), "model_index.json", "--model")


def test_a_checkpoint_of_another_family(twin, script):
    home, other = twin("z_image"), twin("ernie_image")
    done = script(home, "run_reference.py", "--model", other / "artifacts/tiny")
    _refused(done, "ErnieImagePipeline", "ZImagePipeline", "--model")


def test_truncated_checkpoint(twin, script, tmp_path):
    home = twin("z_image")
    model = shutil.copytree(home / "artifacts/tiny", tmp_path / "model")
    file = next((model / "transformer").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    _refused(script(home, "run_reference.py", "--model", model), "cut off", file.name)


def test_truncated_recording(stages, script, port, tmp_path):
    whole = (stages / "artifacts/reference.safetensors").read_bytes()
    for length in (len(whole) - 10, len(whole) // 2, 100, 3, 0):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole[:length])
        done = script(stages, "run_mflux.py", *port("z_image"), "--reference", cut)
        _refused(done, "cut.safetensors", "run_reference.py")


def test_not_a_number_in_the_reference(twin, script, tmp_path):
    home = twin("z_image")
    model = shutil.copytree(home / "artifacts/tiny", tmp_path / "model")
    _write_nan(next((model / "transformer").glob("*.safetensors")))
    done = script(
        home,
        "run_reference.py",
        "--model",
        model,
        "--size",
        "64",
        "--steps",
        "1",
        "--output",
        tmp_path / "x.safetensors",
    )
    _refused(done, "NaN")
    assert not list(tmp_path.glob("x.safetensors*"))


@pytest.mark.parametrize("flags", [("--prompt", "another"), ("--size", "64"), ("--steps", "3")])
def test_run_that_differs_from_the_recorded_one(stages, script, port, flags):
    _refused(script(stages, "run_mflux.py", *port("z_image"), *flags), "the reference ran with", "run run_reference.py")


def test_checkpoint_that_differs_from_the_recorded_one(stages, twin, script, port):
    other = twin("ernie_image") / "artifacts/tiny"
    _refused(
        script(stages, "run_mflux.py", *port("z_image"), "--model", other),
        "is not the checkpoint that the reference ran",
    )


def test_an_operation_that_the_device_lacks(stages, script, port):
    check = Path(__file__).with_name("check_device.py")
    done = script(stages, check, "run_reference.py", "--model", stages / "artifacts/tiny", "--size", "64")
    _refused(done, "PyTorch on cpu lacks an operation (The operator 'aten::silu.out' is not", "--device cpu")
    done = script(stages, check, "run_mflux.py", *port("z_image"))
    _refused(done, "MLX on Device(cpu, 0) lacks an operation ([Eigh::eval_gpu] has no GPU", "stream=mx.cpu")


def test_missing_device(stages, script, port):
    for name in ("tpu", "meta"):  # the second one exists, and computes nothing
        done = script(stages, "run_reference.py", "--model", stages / "artifacts/tiny", "--device", name)
        _refused(done, f"--device {name} cannot be used", "leave it out, or type ")


def test_waivers_without_a_reason(stages, script, port):
    path = stages / "waivers.yml"
    before = path.read_text()
    path.write_text("parity:\n- module: transformer.*\n  limit: 1.0e-5\n")
    try:
        _refused(script(stages, "run_mflux.py", *port("z_image")), "waivers.yml", "reason")
    finally:
        path.write_text(before)


def test_a_port_that_cannot_be_imported(stages, script):
    _refused(script(stages, "run_mflux.py", "--port", "mflux.models.nowhere:Nothing"), "mflux.models.nowhere", "--port")


def test_unported_part_does_not_stop_the_other_stages(stages, script, tmp_path):
    # A port whose transformer's mapping names a tensor that the checkpoint lacks.
    (stages / "half.py").write_text(HALF)
    done = script(stages, "run_mflux.py", "--port", "half:ZImage")
    lines = dict(re.findall(r"^(\w+) +(pass|FAIL|not ported|not run)", done.stdout, re.MULTILINE))
    assert lines["transformer"] == lines["loop"] == lines["end_to_end"] == "not ported", done.stdout + done.stderr
    assert {lines[name] for name in ("vae_decode", "vae_encode", "scheduler", "text_encoder")} == {"pass"}
    assert done.returncode == 0


def test_transformer_without_a_required_method_is_named_and_the_vae_is_judged(stages, script):
    (stages / "drafted.py").write_text(DRAFTED)
    done = script(stages, "run_mflux.py", "--port", "drafted:Drafted")
    lines = dict(re.findall(r"^(\w+) +(pass|FAIL|not ported|not run)", done.stdout, re.MULTILINE))
    assert lines["transformer"] == "not ported", done.stdout + done.stderr
    assert lines["text_encoder"] == lines["loop"] == lines["end_to_end"] == "not run"
    assert {lines[name] for name in ("vae_decode", "vae_encode", "scheduler")} == {"pass"}, done.stdout


def test_single_stage(stages, script, port):
    done = script(stages, "run_mflux.py", *port("z_image"), "--stage", "vae_decode")
    assert done.returncode == 0
    assert re.findall(r"^(\w+) +pass", done.stdout, re.MULTILINE) == ["vae_decode"]


HALF = """
from mflux.models.common.weights.mapping.weight_mapping import WeightTarget
from mflux.models.z_image.variants.z_image import ZImage
from mflux.models.z_image.weights.z_image_weight_mapping import ZImageWeightMapping

ZImageWeightMapping.get_transformer_mapping = staticmethod(
    lambda: [WeightTarget(to_pattern="x_pad_token", from_pattern=["not_written_yet"])]
)
"""

DRAFTED = """
from mflux.models.z_image.variants.z_image import ZImage


class Drafted(ZImage):
    @staticmethod
    def _predict(transformer):
        raise NotImplementedError("rotary embeddings")
"""


def _write_nan(path: Path) -> None:
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    begin, end = entries["x_pad_token"]["data_offsets"]
    data[8 + length + begin : 8 + length + end] = b"\xff\x7f" * ((end - begin) // 2)
    path.write_bytes(data)
