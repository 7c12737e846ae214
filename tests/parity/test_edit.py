"""Edit pipelines: released ports pass every stage with input images, and bugs in one are located."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.parity.healthy import matrix
from tests.parity.healthy.families import EDITS

pytestmark = pytest.mark.full

ROWS = {
    "preprocess", "vae_encode", "condition", "order", "text_encoder", "transformer", "scheduler", "loop", "vae_decode",
    "end_to_end",
}  # fmt: skip
# Families that only edit: the port that is judged, and what may fail because of the true differences in
# healthy/families.py. FIBO's own steps differ, which would hide what else is wrong in its loop.
OTHERS = {"flux_kontext": ("Port", {"transformer": "waived"}), "fibo_edit": ("WithReferenceSteps", {})}
RIGHT = ("healthy", "images as a list of pictures")
SAMPLE = ("mean and std not applied", "images swapped")  # all of them: run_edits.py


def test_released_port_edits_two_images_and_bugs_in_it_are_located(twin, script):
    home = twin("flux2")
    flags = ("--edit", "2", "--steps", "2", "--size", "64x48", "--no-calibration")
    done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *flags)
    assert done.returncode == 0, done.stderr

    done = script(home, Path(__file__).parent / "run_edits.py", home, *RIGHT, *SAMPLE)

    rows = {row["bug"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == {*RIGHT, *SAMPLE}, done.stderr
    assert not any(rows.pop(name)["failed"] for name in RIGHT)
    for row in rows.values():
        assert next(iter(row["failed"])) == row["row"], row
        assert re.search(row["words"], row["failed"][row["row"]]), row


@pytest.mark.parametrize("name", OTHERS)
def test_editing_family_differs_only_where_its_sources_differ(name, tmp_path):
    """Their transformers make the positions. mflux scales the image to the output's size, so it has that size."""
    home, family = matrix.prepare(name, tmp_path), EDITS[name]
    Image.effect_noise((64, 48), 64).convert("RGB").save(tmp_path / "image.png")
    flags = [
        "--edit",
        str(tmp_path / "image.png"),
        "--guidance",
        str(family.guidance),
        "--steps",
        "4",
        "--size",
        "64x48",
    ]
    flags += [word for call in family.calls for word in ("--call", call)]
    flags += ["--prompt", family.prompt or "a fox", "--negative-prompt", family.negative]
    tiny = ["--model", str(home / "artifacts/tiny"), "--no-calibration"]
    made = matrix.run(home, "run_reference.py", [[*flags, *tiny]])[0]
    assert made["code"] == 0, made["text"]

    port, others = OTHERS[name]
    said = matrix.run(home, "run_mflux.py", [["--edit", "--port", f"ports:{port}"]])[0]

    rows = dict(re.findall(r"^edit (\w+) +(\w+)", said["text"], re.MULTILINE))
    assert set(rows) >= ROWS, said["text"]
    assert {row: state for row, state in rows.items() if state != "pass"}.items() <= others.items(), said["text"]
