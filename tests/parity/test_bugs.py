"""A bug of each kind, put into the released ports: the harness's one answer is the module that was expected.

These are a sample. All bugs are run with ``run_bugs.py``; its goal is 95 % in float32 and 85 % in bfloat16.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytestmark = pytest.mark.full
SAMPLE = {
    "z_image": ["RoPE in halves", "attention scale", "modulation order", "step sign", "last layer"],
    "flux2": ["blocks crossed", "output norm not loaded", "RoPE theta", "sigma shift"],
    "ernie_image": ["q and v crossed", "norm eps", "no causal mask", "another prompt text"],
}


@pytest.mark.parametrize("family", SAMPLE)
def test_the_module_is_named(recorded, script, family):
    home = recorded(family)
    done = script(home, Path(__file__).with_name("run_bugs.py"), home, family, "float32", *SAMPLE[family])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["bug"] for row in rows] == SAMPLE[family]
    for row in rows:
        expected, answer = row["expected"], row["answer"]
        right = any(fnmatchcase(answer or "", pattern) for pattern in expected) if expected else answer is None
        assert right, f"{row['bug']}: {answer}, not one of {expected}; {row['line']}"
