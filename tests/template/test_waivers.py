"""The waivers in a rendered port: the harness can read them, and mflux still has the modules that they name."""

from __future__ import annotations

import re
import sys

import pytest
from mflux_port.checkout import releases

from tests.template import rendering

sys.path.insert(0, str(rendering.PROJECT / "template/porting/{{ model }}"))


def rendered(checkout, tmp_path, vae: str):
    root = checkout(releases.NEWEST)
    rendering.render(rendering.template_copy(tmp_path / "template"), root, {"model": "nova", "vae": vae})
    return root / "porting/nova/waivers.yml"


def test_flux_vae_has_waivers_for_its_norms(checkout, tmp_path):
    from parity.waivers import read_waivers

    waivers = read_waivers(rendered(checkout, tmp_path, "flux"))
    norms = [f"vae.{part}.mid_block.attentions.0.group_norm" for part in ("encoder", "decoder")]
    assert all(waivers.entries[0].of_module(name, 9.8e-6) for name in norms)
    assert not waivers.entries[0].of_module("vae.encoder.mid_block.resnets.0.norm1", 9.8e-6)
    assert not waivers.entries[0].of_module(norms[0], 1e-3)


def test_a_vae_without_a_known_difference_has_no_waivers(checkout, tmp_path):
    assert not rendered(checkout, tmp_path, "flux2").exists()


@pytest.mark.parametrize("version", ["0.18.1", "0.22.0", "0.24.0"])
def test_mflux_still_leaves_that_norm_at_its_default(version):
    source = releases.source(version) / "src/mflux/models/flux/model/flux_vae/common/attention.py"
    (norm,) = re.findall(r"GroupNorm\(([^)]*)\)", source.read_text())
    assert "eps" not in norm
