"""With more tensors the work grows linearly, and a module's weights take no memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from benchmarks.bench_checkpoint import _draft, _inspect, write_checkpoint
from tests.conftest import run_in

HERE = Path(__file__).resolve().parent


def calls(action) -> int:
    """The number of function calls in an action: unlike its time, it never varies."""
    count = 0

    def note(_frame, event, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        assert action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("make", [_inspect, _draft], ids=["inspect", "draft"])
def test_number_of_calls_is_linear_in_the_tensors(make, tmp_path):
    found = []
    for count in (400, 4_000):
        action = make(write_checkpoint(tmp_path / str(count), count, 4), count)
        action()  # imports and compiled patterns
        found.append(calls(action))
    assert found[1] <= 10 * found[0], found


def test_module_weights_are_shape_only_arrays():
    python = releases.environment(releases.NEWEST)
    said = json.loads(run_in(python, HERE / "shape_only_arrays.py", source=releases.source(releases.NEWEST) / "src"))
    assert said["alike"] and said["restored"] and said["distinct"]
    assert said["grown"] < 1_000
