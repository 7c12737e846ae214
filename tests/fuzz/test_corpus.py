"""Every input that fuzzing has kept is handled correctly. (What fuzzing found stays among them.)"""

from __future__ import annotations

import importlib

import pytest

from fuzz import TARGETS, cases


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name):
    target = importlib.import_module(f"fuzz.{name}")
    kept = cases(name)
    assert len(kept) > 10
    for path in kept:
        try:
            target.one(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name}: {error}") from error
