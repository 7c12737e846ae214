"""Guidance as pipelines of every kind apply it: what is recorded is what ran, and "off" is one prediction a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.parity.families import PORTING

pytestmark = pytest.mark.full
# The value that is passed when guidance is off (1.0 asked, then 5.0), and with guidance on (5.0) the number of
# predictions in a step and the value that a port is to be given.
EXPECTED = {
    "Pipe": (1.0, 1.0, 2, 5.0),
    "AnyAboveZero": (0.0, 0.0, 2, 5.0),  # Z-Image
    "Embedded": (
        1.0,
        5.0,
        1,
        5.0,
    ),  # FLUX.1 dev: the value is an input of the transformer, so there is nothing to turn off
    "WithoutNegative": (1.0, 5.0, 1, None),  # Qwen-Image
    "Scheduled": (1.0, 1.0, 2, 5.0),  # Ideogram
    "Guided": (1.0, 1.0, 2, 5.0),  # HunyuanImage
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory, script) -> list[dict]:
    done = script(tmp_path_factory.mktemp("guidance"), Path(__file__).with_name("check_guidance.py"), PORTING)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", EXPECTED)
def test_guidance_that_ran_is_recorded(rows, kind):
    off, still_off, on = [row for row in rows if row.get("kind") == kind]
    assert (off["passed"], still_off["passed"], on["rows"], on["ran"]) == EXPECTED[kind]
    assert off["rows"] == still_off["rows"] == 1
    assert (on["guider"] is not None) == (kind == "Guided")
    if kind == "WithoutNegative":
        assert "made one prediction a step at 5 (it may need --negative-prompt)" in on["line"]


def test_a_guidance_that_the_port_cannot_have_is_refused(rows):
    several, one = [row["answer"] for row in rows if "refused" in row]
    assert several.startswith("--guidance 5 makes Pipe combine several predictions a step, and the port makes one")
    assert "leave --guidance out" in several
    assert one == 5.0  # an input of the transformer


def test_latent_orders_of_a_packed_loop_are_found(rows):
    found = rows[-1]
    assert found["noise"] and found["vae"] and found["sign"] == -1
    assert len(found["orders"]) == 4
    assert found["denoisers"] == {"transformer": {"latents": "hidden_states", "listed": False}}


def test_size_chosen_by_a_pipeline_is_recorded(rows):
    assert rows[-1]["drawn"] == {"width": 64, "height": 96}  # not the requested 1024x768, which it does not take
