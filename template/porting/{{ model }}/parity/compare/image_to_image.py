"""Check that image-to-image starts with the reference's latents and step, and find what is wrong if it does not."""

from __future__ import annotations

import numpy as np

from parity.answers import FAIL, PASS
from parity.compare.claim_row import Row
from parity.metrics import distance
from parity.record.recording import Recording

LATENTS, PICTURE = 1e-4, 1e-3  # correct ports: below 3e-5, and the loop's error follows from that
MISTAKES = ("not normalised", "normalised twice", "without the shift", "without the scale")


def starts(wanted: list, own: dict[tuple[int, float], int]) -> Row:
    """The first step for several numbers of steps and strengths. mflux's strength is 1 - the reference's."""
    others = [(n, s, k, own[n, s]) for n, s, k in wanted if own[n, s] != k]
    # mflux never redraws the whole image: it starts at its second step where the reference starts at its first.
    intended = [row for row in others if row[2] == 0 and row[3] == 1]
    wrong = [row for row in others if row not in intended]
    note = f"{len(wanted) - len(others)} of {len(wanted)} agree"
    note += f", {len(intended)} start at step 1 instead of 0, as in all ports of mflux" * bool(intended)
    if wrong:
        steps, strength, theirs, mine = wrong[0]
        note += f"; {steps} steps at strength {strength:g}: the reference starts at step {theirs}, the port at {mine}"
    return Row("steps", FAIL if wrong else PASS, note=note)


def latents(recording: Recording, own: np.ndarray) -> Row:
    """The latents of the first step. ``own`` is in the reference's order."""
    wanted = recording.get("image/latents/out/0")
    gap = distance(wanted, own)
    if gap.relative <= LATENTS:
        return Row("latents", PASS, gap.relative, LATENTS)
    return Row("latents", FAIL, gap.relative, LATENTS, _cause(recording, own.reshape(-1).astype(np.float64)))


def _cause(recording: Recording, own: np.ndarray) -> str:
    """The mix of a clean image (correct or not) and noise that is nearest to the port's latents."""
    noise = recording.get("image/noise/out/0").reshape(-1).astype(np.float64)
    sigmas = recording.get("scheduler/scheduler/out/0").reshape(-1)
    found = []
    for name in ("right", *MISTAKES):
        clean = recording.get(f"image/{name}/out/0").reshape(-1).astype(np.float64)
        (a, b), *_ = np.linalg.lstsq(np.stack([clean, noise], axis=1), own, rcond=None)
        left = np.linalg.norm(a * clean + b * noise - own) / np.linalg.norm(own)
        off = abs(a + b - 1)  # in an interpolation, the two add up to 1
        found.append((left > 10 * LATENTS, off > 10 * LATENTS, left, name, a, b))
    unlike, _, left, name, a, b = min(found)
    if unlike:
        return f"neither the image's latents nor noise of any known kind (relL2 {left:.1e} left)"
    parts = [] if name == "right" else [f"the image's latents are {name}"]
    start = recording.facts["image"]["start"]
    if abs(b - sigmas[start]) > 10 * LATENTS:
        step = next((n for n, sigma in enumerate(sigmas) if abs(sigma - b) < 1e-3), None)
        at = f"that of step {step}" if step is not None else "of no step"
        parts.append(
            f"the noise has the weight {b + 0.0:z.3f}, {at}; the reference's is {sigmas[start]:.3f}, of step {start}"
        )
    if abs(a - (1 - sigmas[start])) > 10 * LATENTS and abs(a + b - 1) > 10 * LATENTS:
        parts.append(f"the image has the weight {a:.3f}, not {1 - sigmas[start]:.3f}")
    return "; ".join(parts) or "small differences everywhere"


def picture(recording: Recording, own: np.ndarray) -> Row:
    """The decoded result of the port's own run."""
    wanted = recording.get("image/picture/out/0")
    gap = distance(wanted, own) if own.size == wanted.size else None
    if gap is None:
        return Row("picture", FAIL, note=f"{list(own.shape)}; the reference's is {list(wanted.shape)}")
    return Row("picture", PASS if gap.relative <= PICTURE else FAIL, gap.relative, PICTURE)
