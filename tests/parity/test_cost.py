"""What a recording takes: memory that does not grow with what is recorded. Computing time: test_families.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def _recorded(script, home: Path, path: Path, *flags: str) -> tuple[float, float]:
    """The peak memory of a recording and its file's size, in MB."""
    flags = ("--model", home / "artifacts/tiny", "--size", "192", "--all-steps", *flags, "--output", path)
    done = script(home, Path(__file__).with_name("run_peak.py"), "run_reference.py", *flags, fresh=True)
    assert done.returncode == 0, done.stderr
    return float(re.findall(r"peak: (\d+)", done.stderr)[-1]), path.stat().st_size / 1e6


def test_memory_does_not_grow_with_what_is_recorded(twin, script, tmp_path):
    home = twin("z_image")
    least, small = _recorded(script, home, tmp_path / "stages.safetensors", "--stages", "--steps", "2")
    peak, size = _recorded(script, home, tmp_path / "modules.safetensors", "--modules", "--steps", "12")
    assert size > 50 * small
    # Two runs of the same recording differ by tens of MB.
    assert peak - least < 80 + (size - small) / 10, (
        f"{least:.0f} MB for {small:.0f} MB, {peak:.0f} MB for {size:.0f} MB"
    )
