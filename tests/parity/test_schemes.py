"""Training schemes: the plain one passes, others only if waivers.yml names them, and unknown ones never."""

from __future__ import annotations

import numpy as np
import pytest
from parity.compare import sampling
from parity.waivers import Waiver, Waivers

GRID = np.linspace(0.05, 1.0, 191)
WEIGHTS = {
    "none": np.ones_like(GRID),
    "sigma_sqrt": GRID**-2,
    "cosmap": 2 / (np.pi * (1 - 2 * GRID + 2 * GRID**2)),
}
SHARES = {"none": [0.05] * 20, "logit_normal": list(np.bincount(np.arange(400) // 40 + 5, minlength=20) / 400)}
SIGMAS = np.linspace(0.05, 0.95, 40)


def _weighting(weights: np.ndarray, *named: str):
    table = {name: values.tolist() for name, values in WEIGHTS.items()}
    return sampling.weighting(SIGMAS, weights, GRID.tolist(), table, _waivers("weighting", named))


def _timesteps(steps: list[int], *named: str, count: int = 20):
    return sampling.timesteps(steps, count, SHARES, _waivers("timesteps", named))


def _waivers(row: str, schemes: tuple[str, ...]) -> Waivers:
    reason = "the model's training script says so"
    return Waivers(tuple(Waiver(reason, 1e-5, f"training.{row}.{scheme}") for scheme in schemes))


@pytest.mark.parametrize("scheme", ["sigma_sqrt", "cosmap"])
def test_weighting_scheme_must_be_named(scheme):
    weights = {"sigma_sqrt": SIGMAS**-2, "cosmap": 2 / (np.pi * (1 - 2 * SIGMAS + 2 * SIGMAS**2))}[scheme]

    assert _weighting(weights, scheme).status == "waived"
    assert "training script says so" in _weighting(weights, scheme).note
    unnamed = _weighting(weights)
    assert unnamed.status == "FAIL" and f"`module: training.weighting.{scheme}`" in unnamed.note
    other = _weighting(weights, "none")
    assert other.status == "FAIL" and "waivers.yml names none" in other.note


def test_equal_weights_fail_if_a_scheme_is_named():
    assert _weighting(np.ones(40)).status == "pass"
    assert _weighting(np.ones(40), "cosmap").status == "FAIL"


def test_unknown_weighting_always_fails():
    assert [_weighting(SIGMAS, *named).status for named in ((), ("none", "sigma_sqrt", "cosmap"))] == ["FAIL"] * 2


def test_timestep_scheme_must_be_named():
    middle = [step for step in range(5, 15) for _ in range(50)]

    assert _timesteps(list(range(20)) * 50).status == "pass"
    assert _timesteps(list(range(8)) * 125, count=8).status == "pass"
    assert _timesteps(list(range(20)) * 50, "logit_normal").status == "FAIL"
    assert _timesteps(middle, "logit_normal").status == "waived"
    assert "`module: training.timesteps.logit_normal`" in _timesteps(middle).note
    assert _timesteps([0] * 1000, "none", "logit_normal").status == "FAIL"


@pytest.mark.parametrize("count", [28, 50, 1000])
def test_adapter_may_have_more_steps_than_can_be_distinguished(count):
    drawn = np.random.default_rng(0)

    assert _timesteps(drawn.integers(0, count, 1000).tolist(), count=count).status == "pass"
    assert (
        _timesteps(drawn.integers(count // 4, 3 * count // 4, 1000).tolist(), "logit_normal", count=count).status
        == "waived"
    )
    assert _timesteps(drawn.integers(0, count // 2, 1000).tolist(), count=count).status == "FAIL"


def test_module_pattern_does_not_name_a_scheme():
    waivers = Waivers((Waiver("mflux builds these norms so", 1e-5, "*norm*"), Waiver("all of these differ", 1e-5, "*")))

    assert sampling.timesteps(list(range(20)) * 50, 20, SHARES, waivers).status == "pass"
