"""The schemes by which a port draws timesteps and weighs losses, compared with the reference's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.answers import FAIL, PASS
from parity.compare.claim_row import Row

APART = 0.1  # half of the summed differences of two shares; 1000 draws of one scheme: 0.06, two schemes: 0.13 and more
EVEN, ROUGH = 1e-3, 3e-2  # the grid is interpolated
ELSEWHERE = "the model's own training script is not in diffusers: compare its scheme by hand"


def timesteps(steps: Sequence[int], schemes: dict[str, list[float]]) -> Row:
    """Which scheme the drawn ``steps`` follow. ``schemes``: the share of each step, the noisiest first."""
    count = len(next(iter(schemes.values())))
    own = np.bincount(np.clip(steps, 0, count - 1), minlength=count) / max(len(steps), 1)
    gaps = {name: float(np.abs(own - shares).sum() / 2) for name, shares in schemes.items()}
    nearest = min(gaps, key=gaps.__getitem__)
    if gaps[nearest] <= APART:
        return Row("timesteps", PASS, note=f"drawn by diffusers' scheme {nearest}; {ELSEWHERE}")
    fifths = ", ".join(f"{share:.0%}" for share in own.reshape(5, -1).sum(axis=1)) if not count % 5 else ""
    note = f"drawn by none of diffusers' schemes ({', '.join(schemes)}): {fifths} in each fifth, the noisiest first"
    return Row("timesteps", FAIL, note=note)


def weighting(sigmas: np.ndarray, weights: np.ndarray, grid: list[float], schemes: dict[str, list[float]]) -> Row:
    """Whether every loss counts the same. ``weights``: the losses over their plain square, at these ``sigmas``.

    ``schemes``: the reference's weights at the sigmas of ``grid``.
    """
    if _even(weights) <= EVEN:
        return Row("weighting", PASS, note=f"every loss has the weight {weights[0]:.3g}: scheme none; {ELSEWHERE}")
    inside = (sigmas >= grid[0]) & (sigmas <= grid[-1])
    ratios = {name: weights[inside] / np.interp(sigmas[inside], grid, known) for name, known in schemes.items()}
    found = next((name for name, values in ratios.items() if values.size and _even(values) <= ROUGH), "")
    how = f"that is diffusers' scheme {found}" if found else "that is none of diffusers' schemes"
    low, high = weights[np.argmin(sigmas)], weights[np.argmax(sigmas)]
    note = f"the loss has the weight {low:.3g} at the lowest sigma and {high:.3g} at the highest; {how}"
    return Row("weighting", FAIL, note=note)


def _even(values: np.ndarray) -> float:
    return float(np.ptp(values) / (np.abs(values).max() or 1.0))
