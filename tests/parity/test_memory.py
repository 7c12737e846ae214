"""One large network at a time on both sides, and the search in two recordings that a real model's size needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.parity.families import PORTS

pytestmark = pytest.mark.full
HERE = Path(__file__).parent
RUN = ("--steps", "2", "--size", "112x80")
BUG = """from mflux.models.z_image.variants.z_image import ZImage
from mlx import nn


class Scaled(nn.Linear):
    def __call__(self, x):
        return super().__call__(x) * 1.1


class Wrong(ZImage):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.transformer.layers[1].feed_forward.w1.__class__ = Scaled
"""


@pytest.fixture(scope="module")
def reference(twin, script) -> tuple[Path, str]:
    """Z-Image's folder with a recording of the stages, and what the reference printed."""
    home = twin("z_image")
    shutil.rmtree(home / "artifacts/calibrations", ignore_errors=True)  # other tests use this twin too
    done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *RUN)
    assert done.returncode == 0, done.stderr
    return home, done.stderr


def test_the_port_keeps_one_large_component_in_memory(twin, script):
    home = twin("z_image")
    done = script(home, HERE / "check_memory.py", home, PORTS["z_image"].port)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr


def test_networks_are_read_tensor_by_tensor(twin, script):
    home = twin("z_image")
    done = script(home, HERE / "check_reading.py", home)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr


def test_loading_networks_one_at_a_time_gives_the_same_recording(reference, script):
    home, said = reference
    one, kept = (home / "artifacts" / f"{name}.safetensors" for name in ("reference", "kept"))
    flags = ("--model", home / "artifacts/tiny", *RUN, "--keep-loaded", "--output", kept)
    done = script(home, "run_reference.py", *flags)
    assert done.returncode == 0, done.stderr
    assert one.read_bytes() == kept.read_bytes()
    assert one.with_suffix(".gaps.json").read_bytes() == kept.with_suffix(".gaps.json").read_bytes()
    assert "a second time in bfloat16" in said and "a second time in bfloat16" not in done.stderr  # it is known


def test_search_goes_from_thinned_blocks_to_the_module(reference, script):
    """Expected: block 1 by its thinned result, then its w1; every other module is right."""
    home, _ = reference
    (home / "bug.py").write_text(BUG)
    source = home / "parity/record/reference.py"
    text = source.read_text(encoding="utf-8")
    thinned = text.replace("1 << 18, 1 << 22", "1 << 12, 1 << 12")
    assert thinned != text
    source.write_text(thinned, encoding="utf-8")
    try:
        done = script(home, "run_mflux.py", "--port", "bug:Wrong", "--bisect", "auto")
    finally:
        source.write_text(text, encoding="utf-8")
    found = [line for line in done.stdout.splitlines() if line.startswith("look at")]
    assert done.returncode == 1 and len(found) == 2, done.stdout + done.stderr
    assert found[0].startswith("look at transformer.0: transformer.layers.1 ")
    assert "a module inside it that was not recorded (" in found[0]  # w1 is wrong, not the block's own code
    assert found[1].startswith("look at transformer.0: transformer.layers.1.feed_forward.w1 ") and "1.1" in found[1]
    assert "run_reference.py --module transformer.layers.1 " in done.stdout
