"""A port's rendered LoRA mapping passes its own tests, which load LoRAs in every naming convention with the real
loader.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.port.port import load_port

from tests.conftest import run_in
from tests.skips import unexpected_skips
from tests.template import ports, rendering
from tests.template.test_combinations import run_fast_tests

HERE = Path(__file__).resolve().parent

RELEASES = [
    pytest.param(release, marks=() if release == releases.NEWEST else pytest.mark.full)
    for release in ("0.24.0", "0.22.0", "0.18.1")
]


@pytest.fixture
def port(request, tmp_path, checkout):
    """A rendered and wired port with LoRA in a checkout of the release: its folder, its answers, its files."""
    root = checkout(request.param)
    answers = ports.answers({"vae": "flux2", "text_encoder": "qwen3", "lora": True}, 0)
    files = rendering.render(rendering.template_copy(tmp_path / "template"), root, answers)
    rendering.wire(root, answers["model"])
    return request.param, root, answers, files


@pytest.mark.parametrize("port", RELEASES, indirect=True)
def test_every_convention_is_applied_by_the_loader_of_the_release(port):
    release, root, answers, files = port
    (test,) = (path for path in files if path.name == f"test_{answers['model']}_lora_mapping.py")
    said = run_fast_tests(root, release, [test])
    assert unexpected_skips(said) == []
    assert int(re.search(r"(\d+) passed", said)[1]) == (11 if release == "0.18.1" else 17)


@pytest.mark.parametrize("port", RELEASES, indirect=True)
def test_no_rendered_pattern_is_ignored_by_the_loader_of_the_release(port):
    release, root, answers, _ = port
    arguments = (answers["model"], load_port(root, answers["model"]).class_name)
    said = run_in(releases.environment(release), HERE / "rendered_patterns.py", *arguments, source=root / "src")
    assert said.splitlines()[-1] == "all are used"
