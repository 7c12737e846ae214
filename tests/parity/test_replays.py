"""Modules that run again, and tensors that cannot be compared.

A module that contains waived ones is judged with the reference's results in their place, an unsteady prediction in
float32; latents of another shape are reported as such.
"""

from __future__ import annotations

from pathlib import Path

from tests.parity.families import PORTING


def test_modules_are_replayed_with_known_results_and_other_shapes_are_reported(script, tmp_path):
    done = script(tmp_path, Path(__file__).with_name("check_replays.py"), PORTING)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr
