"""Check that the transformer of an edit pipeline gets the input images as in the reference, and find what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from PIL import Image

from parity.answers import FAIL, PASS
from parity.compare.calls import FEW, ReferenceCalls
from parity.compare.claim_row import Row
from parity.latent_orders import NOTHING, Order
from parity.metrics import relative_error

PIXELS, LATENTS = 1e-4, 1e-4  # correct ports: below 1e-6; a filter's own rounding is 1e-3
NEAR = 5e-3  # for values that are rounded to 8 bits
FILTERS = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")

# ------------------------------------------------------------------------------------------------------ preprocessing


def pixels(seen: Sequence[tuple[int, object]], pictures: list[str]) -> Row:
    """The VAE's inputs: for each image, in the port's order, its number and both sides' pixels."""
    if len(seen) != len(pictures):
        return Row("preprocess", FAIL, note=f"the reference encodes {len(pictures)} images, the port {len(seen)}")
    rows = [_picture(number, item, pictures[number]) for number, item in seen]
    return max(rows, key=lambda row: (row.status == FAIL, row.relative if row.has_figure else 0.0))


def _picture(number: int, item, path: str) -> Row:
    if not item.aligned:
        note = f"image {number + 1} is {_size(item.own)}; the reference's is {_size(item.reference)}"
        return Row("preprocess", FAIL, note=note)
    gap = item.distance.relative
    if gap <= PIXELS:
        return Row("preprocess", PASS, gap, PIXELS)
    return Row("preprocess", FAIL, gap, PIXELS, f"image {number + 1}: {_pixel_cause(item.reference, item.own, path)}")


def _size(values: np.ndarray) -> str:
    return f"{values.shape[-1]}x{values.shape[-2]}"


def _pixel_cause(reference: np.ndarray, own: np.ndarray, path: str) -> str:
    height, width = reference.shape[-2:]
    one, other = (values.reshape(-1, height, width)[:3] for values in (reference, own))
    changes = {
        "in the range 0 to 1, not -1 to 1": one / 2 + 0.5, "scaled to the range -1 to 1 twice": one * 2 - 1,
        "blue before red": one[::-1], "mirrored": one[:, :, ::-1], "upside down": one[:, ::-1], "inverted": -one,
        "from 0 to 255": (one + 1) * 127.5,
    }  # fmt: skip
    for words, values in changes.items():
        if relative_error(values, other) < NEAR:
            return words
    ways = _ways(path, width, height)
    theirs, mine = (min(ways, key=lambda name: relative_error(ways[name], values)) for values in (one, other))
    near = [relative_error(ways[name], values) < 10 * NEAR for name, values in ((theirs, one), (mine, other))]
    if theirs != mine and all(near):
        return f"{mine}; the reference's is {theirs}"
    return "other pixels" + (f", where the reference's is {theirs}" if near[0] else "")


def _ways(path: str, width: int, height: int) -> dict[str, np.ndarray]:
    """The picture at one size, by each resizing method that pipelines use: (3, height, width) from -1 to 1."""
    image, found = Image.open(path).convert("RGB"), {}
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if left >= 0 and top >= 0:
        found["cropped in the middle"] = image.crop((left, top, left + width, top + height))
        found["cropped at the corner"] = image.crop((0, 0, width, height))
    for name in FILTERS:
        how = getattr(Image.Resampling, name)
        found[f"resized ({name})"] = image.resize((width, height), how)
        scale = max(width / image.width, height / image.height)
        large = image.resize((round(image.width * scale), round(image.height * scale)), how)
        left, top = (large.width - width) // 2, (large.height - height) // 2
        found[f"resized to cover and cropped ({name})"] = large.crop((left, top, left + width, top + height))
    return {name: np.asarray(one, np.float32).transpose(2, 0, 1) / 127.5 - 1 for name, one in found.items()}


# ------------------------------------------------------------------------------------------------- conditioning latents


def condition(calls: ReferenceCalls, item) -> Row:
    """The images' latents in the transformer's inputs, in the VAE's order."""
    if not item.aligned:
        counts = [int(np.count_nonzero(~np.isnan(values))) for values in (item.reference, item.own)]
        note = f"the port gives {counts[1]} latents of the images, the reference {counts[0]}"
        note = note if counts[1] else "the port's transformer is not given the images' latents"
        return Row("condition", FAIL, note=note)
    gap = item.distance.relative
    if gap <= LATENTS:
        return Row("condition", PASS, gap, LATENTS)
    return Row("condition", FAIL, gap, LATENTS, _latent_cause(calls, item.reference, item.own))


def _latent_cause(calls: ReferenceCalls, wanted: np.ndarray, own: np.ndarray) -> str:
    known = ~np.isnan(wanted) & ~np.isnan(own)
    raw = np.concatenate([calls.recording.get(name).reshape(-1) for name in calls.encoded])
    shift, scale = calls.condition_scale()
    right = scale * raw + shift
    usable = known & (scale != 0)
    raw, right, own, shift, scale = (values[usable].astype(np.float64) for values in (raw, right, own, shift, scale))
    ways = {
        "": right, "not normalised": raw, "normalised twice": scale * right + shift,
        "without the shift": scale * raw, "without the scale": raw + shift / scale,
    }  # fmt: skip
    found = [(_share(values, own), words) for words, values in ways.items()]
    (left, weight), words = min(found)
    parts = [words] if words else []
    if abs(weight - 1) > 10 * LATENTS:
        parts.append(f"{weight:.3g} times the reference's")
    if left > 10 * LATENTS:
        parts.append("with noise added to them" if left < 0.9 else "nothing like the reference's")
    return "the images' latents are " + (", ".join(parts) or "a little off everywhere")


def _share(values: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """``own`` minus the nearest multiple of ``values``, and that multiple."""
    weight = float(values @ own / (values @ values)) if values.any() else 0.0
    return float(np.linalg.norm(own - weight * values) / (np.linalg.norm(own) or 1.0)), weight


# ---------------------------------------------------------------------------------------------------- order, positions


def order(calls: ReferenceCalls, own: dict[str, dict[int, Order]], right: bool) -> Iterator[Row]:
    """Whether the images' latents are in the reference's order in the transformer's input.

    ``right``: whether its result is right.
    """
    for branch in calls.branches(0)[:1]:
        mine = [own[branch.component][n].ids for n in sorted(own.get(branch.component, {}))]
        theirs = list(branch.conditions.values())
        if mine and theirs:
            note = _order_cause(theirs, mine, _sizes(calls))
            yield _unless(right, "order", note)


def _sizes(calls: ReferenceCalls) -> list[int]:
    return [int(np.prod(calls.recording.event(name).shape)) for name in calls.encoded]


def _order_cause(theirs: list[np.ndarray], mine: list[np.ndarray], sizes: list[int]) -> str:
    ends = np.cumsum(sizes)
    images = [_images(ids, ends) for ids in (theirs, mine)]
    if images[0] != images[1]:
        return f"image {' before '.join(map(str, images[1]))}, in the reference {' before '.join(map(str, images[0]))}"
    if [ids.shape for ids in theirs] != [ids.shape for ids in mine]:
        return ""  # in another layout, the transformer decides the order of rows
    one, other = (np.concatenate([ids.reshape(-1, ids.shape[-1]) for ids in side]) for side in (theirs, mine))
    if np.array_equal(one, other):
        return ""
    if np.array_equal(np.sort(one, axis=None), np.sort(other, axis=None)):
        return _rows_cause(one, other)
    return ""


def _images(ids: list[np.ndarray], ends: np.ndarray) -> list[int]:
    flat = np.concatenate([one.reshape(-1) for one in ids])
    numbers = np.searchsorted(ends, flat[flat != NOTHING], side="right")
    return [int(n) + 1 for n in dict.fromkeys(numbers.tolist())]


def _rows_cause(one: np.ndarray, other: np.ndarray) -> str:
    held = [(one != NOTHING).any(axis=1), (other != NOTHING).any(axis=1)]
    if not np.array_equal(*held):
        return "they are in other rows of the input: before the noise, not after it, or between"
    sets = [{tuple(sorted(row)) for row in side} for side in (one[held[0]].tolist(), other[held[0]].tolist())]
    if sets[0] != sets[1]:
        return "a row holds other latents than the reference's: another patch"
    first = [[min(row) for row in side] for side in (one[held[0]].tolist(), other[held[0]].tolist())]
    return "the rows are in another order" if first[0] != first[1] else "the numbers in a row are in another order"


def positions(calls: ReferenceCalls, own: dict[str, list[np.ndarray]], right: bool) -> Iterator[Row]:
    """The positions in the transformer's inputs, if both sides pass a few numbers for each row."""
    for branch in calls.branches(0)[:1]:
        theirs = {branch.names[name]: values for name, values in branch.inputs.items() if _is_table(values)}
        mine = [values for values in own.get(branch.component, []) if _is_table(values)]
        pairs = [(name, values, [one for one in mine if _table(one).shape == _table(values).shape])
                 for name, values in theirs.items()]  # fmt: skip
        known = [(name, values, options) for name, values, options in pairs if options]
        if known:
            notes = [_positions_cause(name, values, options) for name, values, options in known]
            yield _unless(right, "positions", "; ".join(filter(None, notes)))


def _unless(right: bool, name: str, note: str) -> Row:
    """A row that fails because of a difference, except when the transformer's result is right with it."""
    if note and right:
        return Row(name, PASS, note=f"{note}; the transformer's result is right with it")
    return Row(name, FAIL if note else PASS, note=note)


def _is_table(values: np.ndarray) -> bool:
    return values.ndim > 1 and values.size > FEW and 1 < values.shape[-1] <= FEW


def _table(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _positions_cause(name: str, reference: np.ndarray, options: list[np.ndarray]) -> str:
    one = _table(reference)
    other = min(map(_table, options), key=lambda values: np.count_nonzero(values != one))
    if np.array_equal(one, other):
        return ""
    for axes in permutations(range(one.shape[1])):
        if np.array_equal(one[:, axes], other):
            return f"{name}: columns {list(axes)} of the reference"
    wrong = np.flatnonzero((one != other).any(axis=1))
    first = wrong[0]
    theirs, mine = (", ".join(f"{number:g}" for number in values[first]) for values in (one, other))
    return f"{name}: {len(wrong)} of {len(one)} rows differ; row {first} is {mine}, the reference's {theirs}"
