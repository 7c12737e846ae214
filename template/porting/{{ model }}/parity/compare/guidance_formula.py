"""Find the formula that combines the conditional and the unconditional prediction, by fitting the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.metrics import Distance, distance, rounded

LINEAR = 1e-3  # share of the prediction; a larger remainder is not a sum of the two outputs
SAME = 2e-3


def fit(outputs: Sequence[np.ndarray], prediction: np.ndarray) -> tuple[list[float], float]:
    """The factor of each output in ``prediction``, and the share of the prediction that no sum of them explains."""
    known = np.isfinite(prediction)
    columns = np.stack([output.reshape(-1)[known.reshape(-1)] for output in outputs], axis=-1).astype(np.float64)
    wanted = prediction.reshape(-1)[known.reshape(-1)].astype(np.float64)
    factors, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
    rest = np.linalg.norm(wanted - columns @ factors) / (np.linalg.norm(wanted) or 1.0)
    return [float(factor) for factor in factors], float(rest)


def distance_of(outputs: Sequence[np.ndarray], prediction: np.ndarray, own: np.ndarray, short: bool) -> Distance:
    """How far a port's combination of the outputs is from the reference's ``prediction``.

    ``short``: the port may round the outputs to bfloat16 before it combines them. A guidance of g makes that rounding
    up to 2g - 1 times as large, but it is known.
    """
    found = distance(prediction, own)
    if not short:
        return found
    factors, _ = fit(outputs, prediction)
    moved = sum(factor * (rounded(one) - one) for factor, one in zip(factors, outputs, strict=True))
    other = distance(prediction + moved.reshape(prediction.shape), own)
    return other if other.relative < found.relative else found


def formula(factors: Sequence[float], rest: float, scale: float) -> str:
    """The formula in words, c the conditional and u the unconditional output, g the guidance ``scale``."""
    named = _linear(factors, scale)
    return named if rest < LINEAR else f"{named} and a part that is not a sum of the two (a rescale, a norm or a state)"


def difference(reference: tuple[list[float], float], own: tuple[list[float], float], scale: float) -> str:
    """The port's formula and the reference's, when both are known; empty when they are the same."""
    theirs, mine = formula(*reference, scale), formula(*own, scale)
    same = all(abs(a - b) <= SAME * max(1.0, abs(a)) for a, b in zip(reference[0], own[0], strict=True))
    if same and abs(reference[1] - own[1]) < LINEAR:
        return ""
    return f"the guidance formula: the port computes {mine}, the reference {theirs} (g = {scale:g})"


def _linear(factors: Sequence[float], g: float) -> str:
    if len(factors) == 2:
        known = {
            "u + g(c - u)": (g, 1 - g),
            "c + g(c - u)": (1 + g, -g),
            "c alone": (1, 0),
            "u alone": (0, 1),
            "c + g(u - c)": (1 - g, g),
            "g(c - u)": (g, -g),
        }
        for name, (c, u) in known.items():
            if abs(factors[0] - c) < SAME * max(1, abs(c)) and abs(factors[1] - u) < SAME * max(1, abs(u)):
                return name
            if abs(factors[0] + c) < SAME * max(1, abs(c)) and abs(factors[1] + u) < SAME * max(1, abs(u)):
                return f"-({name})"
    letters = "cu" if len(factors) == 2 else [f"x{n}" for n in range(len(factors))]
    return " + ".join(f"{factor:.4g} {letter}" for factor, letter in zip(factors, letters, strict=True))
