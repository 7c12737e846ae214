"""A module that contains waived ones is judged with the reference's results in their place, and predictions in float32."""

from __future__ import annotations

from pathlib import Path

from tests.parity.families import PORTING


def test_modules_run_again_with_known_results_and_in_float32(script, tmp_path):
    done = script(tmp_path, Path(__file__).with_name("check_replays.py"), PORTING)
    assert done.returncode == 0 and done.stdout.strip() == "right", done.stderr
