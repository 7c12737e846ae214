"""Rows of a training step: right latents pass, a missing or second normalisation is named, and so is a wrong loss."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from parity.compare import training

SHIFT, SCALE = 0.1159, 0.3611
RAW = np.random.default_rng(0).standard_normal(4 * 6 * 8).astype(np.float32)
LATENTS = {
    "right": (RAW - SHIFT) * SCALE,
    "not normalised": RAW,
    "normalised twice": ((RAW - SHIFT) * SCALE - SHIFT) * SCALE,
    "without the shift": RAW * SCALE,
    "without the scale": RAW - SHIFT,
}
RECORDING = SimpleNamespace(get=lambda name: LATENTS[name.split("/")[1]])


@pytest.mark.parametrize("name", LATENTS)
def test_error_in_the_latents_is_named(name):
    row = training.data(RECORDING, LATENTS[name] * (1 + 1e-6))

    assert row.status == ("pass" if name == "right" else "FAIL")
    assert row.note == ("" if name == "right" else f"the picture's latents are {name}")


def test_latents_of_another_picture_fail():
    note = training.data(RECORDING, LATENTS["right"][::-1]).note
    assert note == "the picture's latents differ from the reference's"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (float("nan"), "nan; the reference's is 0.5"),
        (float("inf"), "inf; the reference's is 0.5"),
        (32.0, "64 times the reference's, a sum over the latents and not their mean"),
        (4.0, "8 times the reference's, a sum over some of the latents' axes and not their mean"),
        (0.55, "0.55; the reference's is 0.5"),
    ],
)
def test_wrong_loss_is_a_failing_row(own, words):
    row = training.loss({"noise - clean": 0.5}, own, latents=64)
    assert row.status == "FAIL" and row.note.endswith(words)
