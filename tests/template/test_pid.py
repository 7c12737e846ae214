"""Which ports have ``--pid-decode``: those whose VAE's latents mflux's PiD decoder knows."""

from __future__ import annotations

import re

import pytest
from mflux_port.checkout import releases

from tests.template import rendering

SPECS = {name: spec for name, spec in rendering.specs("vae").items() if name != "own"}


@pytest.mark.parametrize("version", ["0.22.0", "0.23.0", "0.24.0"])
def test_the_vaes_are_those_with_a_pid_variant(version):
    source = releases.source(version) / "src"
    known = {}
    for name, spec in SPECS.items():
        text = (source / spec["module"].replace(".", "/")).with_suffix(".py").read_text()
        known[name] = bool(re.search(r"^    pid_variant = \"", text, re.MULTILINE))
    assert known == {name: spec["pid"] for name, spec in SPECS.items()}
