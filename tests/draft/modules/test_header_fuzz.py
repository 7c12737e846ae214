"""Tensors of mutated headers of real models are mapped and loadable, or reported: see header_fuzz.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests.conftest import run_in

HERE = Path(__file__).resolve().parent

SOURCE = "0.24.0"
# CI runs a sample of the mutations; HEADER_MUTATIONS=5100 runs all of them.
MUTATIONS = int(os.environ.get("HEADER_MUTATIONS", "600"))


@pytest.mark.parametrize(("count", "seed"), [(120, 0), pytest.param(MUTATIONS, 1000, marks=pytest.mark.full)])
def test_no_mutation_of_a_header_is_silently_wrong(references, diffusers_python, count, seed):
    source = releases.source(SOURCE) / "src"
    said = json.loads(run_in(diffusers_python, HERE / "header_fuzz.py", references, count, seed, source=source))
    assert said["faults"] == []
    assert sum(said["ends"].values()) == count + 9 and said["ends"].get("refused", 0) < count / 20
