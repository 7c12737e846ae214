"""Compare a training step with the reference's: sigmas, loss, gradients and updates. Find what is wrong with each."""

from __future__ import annotations

import math

import numpy as np

from parity.answers import FAIL, NOT_RUN, PASS
from parity.compare.claim_row import Row
from parity.compare.image_to_image import LATENTS, MISTAKES
from parity.metrics import Distance, distance
from parity.record.recording import Recording

SIGMAS, LOSS, GRADIENT = 1e-4, 1e-4, 1e-3  # correct ports: below 1e-6, 1e-6 and 1e-4
UPDATE = 3e-2  # AdamW divides by a gradient's size: if that is near zero, rounding decides the sign
ALIKE = 0.999


def sigmas(wanted: np.ndarray, own: np.ndarray) -> Row:
    """Compare the schedule from which training draws timesteps with the one that generates the reference's images."""
    length = min(len(wanted), len(own))
    gap = distance(wanted[:length], own[:length])
    good = abs(len(wanted) - len(own)) <= 1 and gap.relative <= SIGMAS
    return Row("sigmas", PASS if good else FAIL, gap.relative, SIGMAS, "" if good else _schedule(wanted, own))


def _schedule(wanted: np.ndarray, own: np.ndarray) -> str:
    linear = np.linspace(1.0, 0.0, len(own), dtype=np.float32)
    steps = np.linspace(1.0, 1.0 / max(len(own) - 1, 1), max(len(own) - 1, 1), dtype=np.float32)
    unshifted = np.allclose(own, linear, atol=1e-3) or np.allclose(own[:-1], steps, atol=1e-3)
    shown = ", ".join(f"{value:.3f}" for value in own[:4])
    other = ", ".join(f"{value:.3f}" for value in wanted[:4])
    reason = "no timestep shift" if unshifted else "another schedule"
    return f"{reason}: {shown}, the reference has {other}"


def data(recording: Recording, own: np.ndarray) -> Row:
    """The latents that the adapter makes of a picture. ``own`` is in the reference's order."""
    wanted = recording.get("data/right/out/0")
    gap = distance(wanted, own)
    if gap.relative <= LATENTS:
        return Row("data", PASS, gap.relative, LATENTS)
    gaps = {name: distance(recording.get(f"data/{name}/out/0"), own) for name in MISTAKES}
    known = next((name for name, other in gaps.items() if other.relative <= 10 * LATENTS), "")
    note = f"the picture's latents are {known}" if known else "the picture's latents differ from the reference's"
    return Row("data", FAIL, gap.relative, LATENTS, note)


def loss(losses: dict[str, float], own: float, latents: int) -> Row:
    """The loss of one step. ``losses``: the reference's, and those with other targets; ``latents``: their number."""
    right = losses["noise - clean"]
    gap = abs(own - right) / right
    if gap <= LOSS:
        return Row("loss", PASS, gap, LOSS)
    other = next((target for target, value in losses.items() if abs(own - value) <= LOSS * value), "")
    note = f"{own:.6g}; the reference's is {right:.6g}"
    times = round(own / right) if math.isfinite(own / right) else 0
    if other:
        note += f": the target is {other}, not noise - clean"
    elif times > 1 and latents % times == 0 and abs(own / right / times - 1) <= LOSS:
        how = "a sum over the latents" if times == latents else "a sum over some of the latents' axes"
        note += f": {times} times the reference's, {how} and not their mean"
    return Row("loss", FAIL, gap, LOSS, note)


def matrices(recording: Recording, what: str, own: dict[tuple[str, int], np.ndarray], limit: float) -> list[Row]:
    """One row for the gradients or the updates of all matrices. ``own`` has them by layer and number (0 down, 1 up)."""
    wanted = {event.name: recording.get(event.name) for event in recording.events if event.stage == what}
    causes: dict[str, list[str]] = {}
    worst, count = 0.0, 0
    for (layer, number), values in own.items():
        name = f"{what}/{recording.facts['lora']['component']}.{layer}/out/{number}"
        if name not in wanted:
            continue
        count += 1
        gap = distance(wanted[name], values.reshape(wanted[name].shape)) if values.size == wanted[name].size else None
        worst = max(worst, gap.relative if gap else 1.0)
        if gap is None or not gap.relative <= limit:
            cause = _cause(gap, wanted, name, values)
            causes.setdefault(cause, []).append(f"{layer}.{('lora_A', 'lora_B')[number]}")
    if not count:
        return [Row(f"{what}s", NOT_RUN, note="the port trains none of the reference's layers")]
    parts = [
        f"{places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)}: {cause}" for cause, places in causes.items()
    ]
    parts.sort(key=lambda part: "is zero" not in part)  # it explains the others
    return [Row(f"{what}s", FAIL if causes else PASS, worst, limit, "; ".join(parts[:4]) or f"{count} matrices")]


def _cause(gap, wanted: dict[str, np.ndarray], name: str, values: np.ndarray) -> str:
    if gap is None:
        return "has another shape"
    if not np.abs(values).max(initial=0.0) > 0:
        return "is zero" if np.abs(wanted[name]).max(initial=0.0) > 0 else "is not zero"
    if gap.cosine > ALIKE:
        return f"is {gap.ratio:.3g} times the reference's"
    if gap.cosine < -ALIKE:
        return "has the other sign"
    stage, _, _ = name.partition("/")
    for other, theirs in wanted.items():
        if other != name and theirs.size == values.size and distance(theirs, values).cosine > ALIKE:
            return f"is that of {other.split('/')[1].partition('.')[2]}"
    return f"is another (relL2 {gap.relative:.1e})"


def saved(keys: dict[str, np.ndarray], spellings: dict[str, list], trained: dict[tuple[str, int], np.ndarray]) -> Row:
    """A saved adapter as the reference reads it. ``trained``: each layer's actual matrices, including the scale.

    ``trained`` has the product up @ down by layer, under the number 2.
    """
    unread = [key for key in keys if key not in spellings]
    if unread:
        return Row("saved", FAIL, note=f"{unread[0]} and {len(unread) - 1} more: the reference does not read this key")
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, values in keys.items():
        layer, matrix = spellings[key]
        found.setdefault(layer, {})[matrix] = values
    worst, wrong = _compared({layer: product for (layer, number), product in trained.items() if number == 2}, found)
    wrong.sort(key=lambda text: "is not saved" in text)
    note = f"{wrong[0]} (and {len(wrong) - 1} more)" if len(wrong) > 1 else "".join(wrong)
    return Row("saved", FAIL if wrong else PASS, worst, LOSS, note)


def _compared(products: dict[str, np.ndarray], found: dict[str, dict[str, np.ndarray]]) -> tuple[float, list[str]]:
    """The largest relative gap, and what is wrong with each layer that differs."""
    worst, wrong = 0.0, []
    for layer, product in products.items():
        parts = found.get(layer, {})
        if parts.keys() != {"up", "down"} or not _are_factors(product, **parts):
            wrong.append(f"{layer} is not saved as up (outputs, rank) and down (rank, inputs)")
            continue
        gap = distance(product, parts["up"] @ parts["down"])
        worst = max(worst, gap.relative)
        if not gap.relative <= LOSS:
            wrong.append(f"{layer} {_saved_as(gap)}")
    return worst, wrong


def _saved_as(gap: Distance) -> str:
    if not gap.cosine > ALIKE:
        return "is saved with another update"
    if abs(gap.ratio - 1) < gap.relative / 2:
        return f"is saved with small differences (relL2 {gap.relative:.1e}), as a dtype of fewer digits makes them"
    return f"was trained with {1 / gap.ratio:.3g} times the saved update"


def _are_factors(product: np.ndarray, up: np.ndarray, down: np.ndarray) -> bool:
    """Whether the shapes are those of up (outputs, rank) and down (rank, inputs)."""
    return (len(up), down.shape[-1]) == product.shape and up.shape[-1] == len(down)
