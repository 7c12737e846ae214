"""A family of a turbo, a base and an edit checkpoint: each is saved, loaded and run with its own class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import preloaded
from tests.template import ports, rendering


@pytest.mark.full
def test_each_checkpoint_is_saved_and_comes_back_the_same(tmp_path, checkout):
    root = checkout(releases.NEWEST)
    answers = ports.answers({"checkpoints": "with edit", "edit": True}, 1)
    rendering.render(rendering.template_copy(tmp_path / "template"), root, answers)
    rendering.wire(root, answers["model"])
    (tmp_path / "work").mkdir()

    script = Path(__file__).with_name("save_family.py")
    command = [str(releases.environment(releases.NEWEST)), str(script), "X01", answers["model"], str(tmp_path / "work")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = preloaded.run(command, root, environment)

    assert done.returncode == 0, done.stderr[-3000:]
    said = [line.split()[:2] for line in done.stdout.splitlines() if line.endswith("tensors")]
    assert said == [["x01-turbo", "X01"], ["x01-base", "X01"], ["x01-retouch", "X01Edit"]]
