"""Norms over a large picture: the rounding of MLX's sums must not look like a wrong port."""

from __future__ import annotations

from pathlib import Path

from tests.parity.families import PORTING


def test_sums_of_a_million_numbers_are_exact(script, tmp_path):
    done = script(tmp_path, Path(__file__).with_name("check_long_sums.py"), PORTING)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr
