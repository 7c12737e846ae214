"""One large network at a time on both sides, and the search in two recordings that a real model's size needs."""

from __future__ import annotations

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


def test_the_port_keeps_one_large_component_in_memory(twin, script):
    home = twin("z_image")
    done = script(home, HERE / "check_memory.py", home, PORTS["z_image"].port)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr


def test_networks_that_are_loaded_one_at_a_time_give_the_same_recording(twin, script):
    home = twin("z_image")
    files = [home / "artifacts" / f"{name}.safetensors" for name in ("one_at_a_time", "kept")]
    said = []
    for path, flags in zip(files, ((), ("--keep-loaded",)), strict=True):
        done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *RUN, *flags, "--output", path)
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].with_suffix(".gaps.json").read_bytes() == files[1].with_suffix(".gaps.json").read_bytes()
    assert "a second time in bfloat16" in said[0] and "a second time in bfloat16" not in said[1]  # it is known


def test_a_search_goes_from_thinned_blocks_to_the_module(twin, script):
    """Expected: block 1 by its thinned result, then its w1; every other module is right."""
    home = twin("z_image")
    (home / "bug.py").write_text(BUG)
    reference = home / "parity/record/reference.py"
    text = reference.read_text(encoding="utf-8")
    thinned = text.replace("1 << 18, 1 << 22", "1 << 12, 1 << 12")
    assert thinned != text
    reference.write_text(thinned, encoding="utf-8")
    try:
        flags = ("--model", home / "artifacts/tiny", *RUN)
        assert script(home, "run_reference.py", *flags).returncode == 0
        done = script(home, "run_mflux.py", "--port", "bug:Wrong", "--bisect", "auto")
    finally:
        reference.write_text(text, encoding="utf-8")
    found = [line for line in done.stdout.splitlines() if line.startswith("look at")]
    assert done.returncode == 1 and len(found) == 2, done.stdout + done.stderr
    assert found[0].startswith("look at transformer.0: transformer.layers.1 ")
    assert "a module inside it that was not recorded (" in found[0]  # w1 is wrong, not the block's own code
    assert found[1].startswith("look at transformer.0: transformer.layers.1.feed_forward.w1 ") and "1.1" in found[1]
    assert "run_reference.py --module transformer.layers.1 " in done.stdout
