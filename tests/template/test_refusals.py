"""Answers that do not go together, or that the checkout cannot serve, are refused before anything is written."""

from __future__ import annotations

import pytest
from copier.errors import CopierError

from tests.template import rendering


@pytest.mark.parametrize(
    ("release", "answers", "told"),
    [
        ("0.18.1", {"vae": "qwen21"}, "mflux 0.20"),
        ("0.18.1", {"text_encoder": "gemma2"}, "mflux 0.19"),
        ("0.18.1", {"mflux_api": "0.24"}, "older than mflux 0.24"),
        ("0.20.0", {}, "mflux 0.22"),
    ],
)
def test_refused(tmp_path, checkout, release, answers, told):
    root = checkout(release)
    template = rendering.template_copy(tmp_path / "template")
    with pytest.raises((ValueError, CopierError), match=told):
        rendering.render(template, root, {"model": "nova", **answers})
    assert not (root / "porting").exists()
    assert not (root / "src/mflux/models/nova").exists()
