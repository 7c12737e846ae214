"""A text encoder's checkpoint is read as the class itself saves it, not only as a pipeline or outer model does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import preloaded
from tests.template import rendering

CLASSES = {
    "qwen3": "Qwen3Model",
    "qwen3_vl": "Qwen3VLTextModel",
    "mistral3": "Ministral3Model",
    "smollm3": "SmolLM3Model",
    "clip": "CLIPTextModel",
    "gemma2": "Gemma2Model",
    "t5": "T5EncoderModel",
}


@pytest.mark.full
def test_every_name_that_the_class_saves_is_mapped(tmp_path, checkout):
    root = checkout(releases.NEWEST)
    template = rendering.template_copy(tmp_path / "template")
    for name in CLASSES:
        rendering.render(template, root, {"model": f"nova_{name}", "text_encoder": name})

    script = Path(__file__).with_name("save_text_encoders.py")
    command = [str(releases.environment(releases.NEWEST)), str(script), json.dumps(CLASSES), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = preloaded.run(command, root, environment)

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {name: [] for name in CLASSES}
