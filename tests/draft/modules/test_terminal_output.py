"""The terminal shows our own output and nothing from the libraries; repeated lines become one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from mflux_port.ledger.account_text import format_accounts
from mflux_port.ledger.balance import Account, Finding

from tests.conftest import PROJECT

HERE = Path(__file__).resolve().parent


@pytest.mark.full
@pytest.mark.parametrize("family", ["z_image-tiny", "flux2_klein-tiny", "qwen_image-tiny"])
def test_building_a_reference_prints_nothing(references, diffusers_python, family):
    command = [str(diffusers_python), str(HERE / "quiet_reference.py"), str(references / family)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.strip().isdigit(), done.stderr


@pytest.mark.parametrize("count", [1, 2, 40])
def test_notes_of_one_kind_share_a_line(count):
    findings = [
        Finding("vae", "guessed count", f"down.{{block}}.conv{n}.weight", "mflux guesses") for n in range(count)
    ]
    lines = format_accounts([Account("vae", 3, 3, 0, findings)], findings).splitlines()
    assert sum("guessed count" in line or "mflux guesses" in line for line in lines) == 1
    assert "every tensor is used once" in lines[-1]


@pytest.mark.parametrize("count", [1, 30, 500])
def test_failures_of_one_kind_list_a_limited_number_of_names(count):
    findings = [Finding("vae", "not mapped", f"part{n}x.weight", "no target takes it") for n in range(count)]
    lines = format_accounts([Account("vae", count, 0, 0, findings)], findings).splitlines()
    assert len(lines) <= 36 and f"FAIL vae: not mapped ({count})" in lines
    assert any("more lines, which --json lists" in line for line in lines) == (count > 30)
