"""A command's output may be closed, full, or no longer read: the command still does its work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_port import ANSWERS

FULL = "cannot use: No space left on device; check that it exists and that you have permission"


def shell(root: Path, line: str) -> subprocess.CompletedProcess:
    line = line.replace("mflux-port", f"{sys.executable} -m mflux_port")
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=root, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("mflux-port wire nova_image", 0, ""),
        ("mflux-port wire nova_image >&-", 0, ""),
        ("mflux-port wire nova_image >&- 2>&-", 0, ""),
        ("mflux-port wire nova_image | true", 0, ""),
        ("mflux-port wire nova_image --json | head -c 1", 0, ""),
        pytest.param(
            "mflux-port wire nova_image > /dev/full",
            2,
            f"mflux-port: {FULL}\n",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's own"),
        ),
    ],
)
def test_wiring_completes_without_a_reader(shared, answered, line: str, code: int, said: str):
    root = shared()
    answered(root, ANSWERS)
    done = shell(root, line)
    assert (done.returncode, done.stderr) == (code, said)
    assert "nova-image-2.1" in (root / "src/mflux/models/common/config/model_config.py").read_text()


def test_error_exits_correctly_without_a_reader(shared):
    assert shell(shared(), "mflux-port wire vega >&- 2>&-").returncode == 2
