"""Limits, calibrations and waivers: how far a result may be off."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest


def test_waivers_cover_only_what_they_name(tmp_path):
    from parity.waivers import read_waivers

    path = tmp_path / "waivers.yml"
    assert read_waivers(path).entries == ()
    path.write_text('parity:\n- module: "a.*.norm"\n  limit: 2.0e-5\n  reason: chosen by the port\n')
    waivers = read_waivers(path)
    assert waivers.module(_Verdict("a.3.norm", 1e-5)) == "chosen by the port"
    assert not waivers.module(_Verdict("a.3.norm", 3e-5))
    assert not waivers.module(_Verdict("b.3.norm", 1e-6))


def test_waived_module_raises_the_limit_of_its_stage():
    from parity.waivers import Waiver, Waivers

    waivers = Waivers((Waiver("eps of MLX's default", 1e-4, module="vae.*.group_norm"),))
    paths = ["vae.decoder.mid.group_norm", "vae.decoder.conv_in"]
    assert waivers.inherited(1.06e-4, 8.8e-5, paths).startswith("within 1.9e-04, its limit and that of the")
    assert waivers.inherited(1.9e-4, 8.8e-5, paths) == ""
    assert waivers.inherited(float("nan"), 8.8e-5, paths) == ""
    assert waivers.inherited(1.06e-4, 8.8e-5, ["transformer.norm"]) == ""
    wide = Waivers((Waiver("anything goes", 1.0, module="vae.*"),))
    assert wide.inherited(9e-4, 1e-4, paths) and not wide.inherited(1.1e-3, 1e-4, paths)


def test_modules_that_amplify_rounding_have_a_wider_limit():
    from dataclasses import replace

    from parity.compare.limits import Limits

    call = _Call()
    assert Limits("float32").of_sensitive(call, 1.2e-7) == pytest.approx(1e-5)
    assert 1.3e-5 < Limits("float32").of_sensitive(call, 4e-7) < 1e-4
    assert Limits("float32").of_sensitive(call, 1.0) == pytest.approx(1e-4)
    assert Limits("float32").of_sensitive(replace(call, leaf=True), 1.0) == pytest.approx(2.5e-6)


def test_inaccurate_bfloat16_reference_does_not_excuse_every_error():
    """FLUX.1 dev multiplies the guidance by 1000 in bfloat16: its own result is then 0.45 off."""
    from parity.compare.limits import FLOAT32, Limits

    name = "transformer.0/transformer/out/0"
    gaps = {"transformer.0/transformer/out/0": 0.45, "loop/scheduler.0/out/0": 0.21, "loop/scheduler.0/in/0": 0.45}
    limits = Limits("bfloat16", gaps)
    assert limits.is_unsteady(name) and limits.of_stage("transformer", f"{FLOAT32}{name}") == pytest.approx(2e-3)
    assert not Limits("float32", gaps).is_unsteady(name)
    stored_in_float32 = Limits("bfloat16", gaps | {f"rounded:{name}": 0.05})
    assert stored_in_float32.of_stage("transformer", f"{FLOAT32}{name}") == pytest.approx(0.052)
    assert not Limits("bfloat16", {name: 0.02}).is_unsteady(name)
    for combined in ("guidance/scheduler.0/in/0", "scheduler/scheduler.0/out/0"):
        assert limits.of_stage("scheduler", combined) == pytest.approx(0.04)
    assert limits.of_stage("guidance", "guidance/scheduler.0/in/0", exact=True) == pytest.approx(5e-3)


def test_network_with_more_modules_has_a_wider_limit():
    from dataclasses import replace

    from parity.compare.limits import Limits

    leaf = _Call(leaf=True)
    few, many, most = (replace(_Call(), inside=(leaf,) * count) for count in (9, 64, 10_000))
    assert Limits("float32").of_module(few) == pytest.approx(1e-5)
    assert Limits("float32").of_module(many) == pytest.approx(2e-5)
    assert Limits("float32").of_module(most) == pytest.approx(1e-4)


def test_the_limit_of_a_table_of_sines_grows_with_the_angles():
    from parity.compare.limits import Limits

    of = Limits("float32").of_module
    assert of(_Call(leaf=True)) == of(_Call(leaf=True, angle=16.0)) == 2.5e-6
    assert of(_Call(leaf=True, angle=1000.0)) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "parity:\n- module: a\n",
        "parity:\n- {module: a, reason: eps}\n",
        "parity:\n- {stage: nowhere, limit: 1, reason: a b c}\n",
        "x: [",
        "parity: [3]\n",
        "parity: b\n",
        "a: b\n",
        "- {module: a, limit: 1.0e-5, reason: a b c}\n",
    ],
)
def test_incomplete_waivers_are_refused(tmp_path, text):
    from parity.errors import ParityError
    from parity.waivers import read_waivers

    (tmp_path / "waivers.yml").write_text(text)
    with pytest.raises(ParityError, match="waivers.yml"):
        read_waivers(tmp_path / "waivers.yml")


@dataclass
class _Call:
    leaf: bool = False
    whole: bool = True
    short: bool = False
    angle: float = 0.0
    size: int = 10
    event: str = "transformer.0/transformer"
    children: tuple[_Call, ...] = ()
    inside: tuple[_Call, ...] = ()

    def walk(self):
        return [*self.inside, self]


@dataclass
class _Verdict:
    module: str
    local: float


def test_calibration_of_another_run_is_not_used(tmp_path):
    from parity.record.calibration import read_calibration, write_calibration

    write_calibration(tmp_path / "gaps.json", {"a": 0.5}, "one")
    assert read_calibration(tmp_path / "gaps.json", "one") == {"a": 0.5}
    assert read_calibration(tmp_path / "gaps.json", "two") == {}
    assert json.loads((tmp_path / "gaps.json").read_text())["run"] == "one"


def _predictions(random: np.random.Generator, near: float) -> list[np.ndarray]:
    given = random.standard_normal((1, 16, 8, 12)).astype(np.float32)
    return [given, given + np.float32(near) * random.standard_normal(given.shape).astype(np.float32)]


def _ways_to_guide(c: np.ndarray, u: np.ndarray, g: float) -> dict[str, np.ndarray]:
    """Correct ports in bfloat16: what they round, and when."""
    from parity.metrics import rounded

    small = rounded(c), rounded(u)
    stepwise = rounded(small[1] + rounded(np.float32(g) * rounded(small[0] - small[1])))
    return {
        "in float32": u + np.float32(g) * (c - u),
        "the result rounded": rounded(u + np.float32(g) * (c - u)),
        "both rounded before": small[1] + np.float32(g) * (small[0] - small[1]),
        "in bfloat16": stepwise,
        "in bfloat16, then rescaled in float32": stepwise * np.float32(0.987654),
    }


@pytest.mark.parametrize("near", [1.0, 0.3, 0.1, 0.03, 0.01])
@pytest.mark.parametrize("g", [1.5, 4.0, 7.0, 12.0, 30.0])
def test_rounding_alone_never_fails_the_guidance(near, g):
    """The nearer the two predictions are to each other, the more of a prediction's rounding is left in their sum."""
    from parity.compare import guidance_formula
    from parity.compare.limits import Limits
    from parity.metrics import distance, is_short

    name, limits = "guidance/scheduler.0/in/0", Limits("bfloat16", {"loop/scheduler.0/in/0": 0.02})
    for seed in range(5):
        c, u = outputs = _predictions(np.random.default_rng(seed), near)
        right = u + np.float32(g) * (c - u)
        for how, own in _ways_to_guide(c, u, g).items():
            wanted = right * np.float32(0.987654) if "rescaled" in how else right
            gap = guidance_formula.distance_of(outputs, wanted, own, short=True)
            assert gap.relative <= limits.of_stage("guidance", name, exact=not is_short(own)), (how, seed)
        other = c + np.float32(g) * (c - u)
        missed = guidance_formula.distance_of(outputs, right, other, short=True).relative
        assert missed == pytest.approx(distance(right, other).relative, rel=0.2)


@pytest.mark.parametrize("last", [0.0, 0.5, 0.9])
def test_rounding_alone_never_fails_a_step_of_the_scheduler(last):
    from parity.compare.limits import Limits
    from parity.metrics import distance, rounded

    for seed in range(5):
        noise, picture = _predictions(np.random.default_rng(seed), 1.0)
        right = noise + np.float32(last - 1.0) * (noise - picture)
        change = rounded(np.float32(last - 1.0) * rounded(noise - picture))
        own = rounded(rounded(noise) + change)
        assert distance(right, own).relative <= Limits("bfloat16").of_stage("scheduler", "scheduler/scheduler.0/out/0")


def test_a_module_that_amplifies_its_rounding_to_bfloat16_has_a_wider_limit():
    from dataclasses import replace

    from parity.compare.limits import Limits

    limits = Limits("bfloat16")
    leaf = _Call(leaf=True, short=True, children=())
    call = replace(_Call(short=True), inside=(leaf, leaf), children=(leaf, leaf))
    usual = limits.of_module(call)
    assert usual == pytest.approx(5e-3 * 2**0.5)
    assert limits.of_sensitive(call, 2e-3) == usual
    assert limits.of_sensitive(call, 8.1e-3) == pytest.approx(3 * usual)
    assert limits.of_sensitive(call, 1.0) == pytest.approx(0.1)
    assert limits.of_sensitive(leaf, 1.0) == pytest.approx(5e-3)
