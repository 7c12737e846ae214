"""The schemes by which a port draws timesteps and weights losses, compared with the reference's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from parity.answers import FAIL, PASS, WAIVED
from parity.compare.claim_row import Row
from parity.waivers import Waivers

APART = 0.1  # half of the summed differences of two shares; 1000 draws of one scheme: 0.06, two schemes: 0.13 and more
EVEN, ROUGH = 1e-3, 3e-2  # the grid is interpolated
PLAIN = "none"  # diffusers' name for timesteps drawn evenly, or losses weighted equally
ELSEWHERE = "the model's own training script is not in diffusers: compare its scheme by hand"


def timesteps(steps: Sequence[int], count: int, schemes: dict[str, list[float]], waivers: Waivers) -> Row:
    """The scheme that the drawn ``steps`` follow. ``schemes``: the share of each step, the noisiest first."""
    drawn = np.bincount(np.clip(steps, 0, count - 1), minlength=count) / max(len(steps), 1)
    count = min(count, *map(len, schemes.values()))  # with more steps, each would be drawn too rarely to show a scheme
    own = _shares(drawn, count)
    gaps = {name: float(np.abs(own - _shares(shares, count)).sum() / 2) for name, shares in schemes.items()}
    nearest = min(gaps, key=gaps.__getitem__)
    if gaps[nearest] <= APART:
        return _known("timesteps", nearest, f"drawn by diffusers' scheme {nearest}", schemes, waivers)
    fifths = ", ".join(f"{share:.0%}" for share in own.reshape(5, -1).sum(axis=1)) if not count % 5 else ""
    note = f"drawn by none of diffusers' schemes ({', '.join(schemes)}): {fifths} in each fifth, the noisiest first"
    return Row("timesteps", FAIL, note=note)


def _shares(shares: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """Convert the shares to ``count`` steps."""
    summed = np.concatenate([[0.0], np.cumsum(shares)])
    return np.diff(np.interp(np.linspace(0, 1, count + 1), np.linspace(0, 1, len(summed)), summed))


def weighting(
    sigmas: np.ndarray, weights: np.ndarray, grid: list[float], schemes: dict[str, list[float]], waivers: Waivers
) -> Row:
    """The scheme that weights the losses. ``weights``: the losses over their plain square, at these ``sigmas``.

    ``schemes``: the reference's weights at the sigmas of ``grid``.
    """
    if _even(weights) <= EVEN:
        note = f"every loss has the weight {weights[0]:.3g}: scheme {PLAIN}"
        return _known("weighting", PLAIN, note, schemes, waivers)
    inside = (sigmas >= grid[0]) & (sigmas <= grid[-1])
    ratios = {name: weights[inside] / np.interp(sigmas[inside], grid, known) for name, known in schemes.items()}
    found = next((name for name, values in ratios.items() if values.size and _even(values) <= ROUGH), "")
    low, high = weights[np.argmin(sigmas)], weights[np.argmax(sigmas)]
    note = f"the loss has the weight {low:.3g} at the lowest sigma and {high:.3g} at the highest"
    if not found:
        return Row("weighting", FAIL, note=f"{note}; that is none of diffusers' schemes")
    return _known("weighting", found, f"{note}; that is diffusers' scheme {found}", schemes, waivers)


def _known(row: str, found: str, note: str, schemes: Iterable[str], waivers: Waivers) -> Row:
    """A row for one of diffusers' schemes: any but the plain one must be named in waivers.yml, with a reason."""
    reasons = {scheme: waivers.scheme(f"training.{row}.{scheme}") for scheme in schemes}
    named = [scheme for scheme, reason in reasons.items() if reason]
    if reasons[found]:
        return Row(row, WAIVED, note=f"{note}: {reasons[found]}")
    if named:
        return Row(row, FAIL, note=f"{note}; waivers.yml names {' or '.join(named)}")
    if found == PLAIN:
        return Row(row, PASS, note=f"{note}; {ELSEWHERE}")
    entry = f"module: training.{row}.{found}"
    return Row(row, FAIL, note=f"{note}; if the model was trained so, waivers.yml needs `{entry}` and a reason")


def _even(values: np.ndarray) -> float:
    return float(np.ptp(values) / (np.abs(values).max() or 1.0))
