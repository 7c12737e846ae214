"""Recognise known patterns in the numbers of a wrong module, so that the verdict can say what is likely wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from parity.compare import masks
from parity.compare.alignment import align
from parity.compare.limits import ROUNDED
from parity.compare.rotation import is_table, of_tables
from parity.compare.rows import remaining, turned_axis
from parity.metrics import Distance, is_short, relative_error

if TYPE_CHECKING:  # they need MLX, the numbers here do not
    from parity.run.module_call import Call
    from parity.run.module_judge import ModuleJudge

GATED = ("mlp", "ff", "feed_forward", "act", "swiglu", "glu")
SMALL = 1e-3  # share of a change that is only rounding
MOVED = 0.05  # values in another order are far from the reference; near values differ by rounding only
DIFFERS = {"float32": 1e-3, "bfloat16": 0.03}  # an input nearer than this is the same one, rounded
FEW = 4  # numbers of a timestep or a scale
SWAPPED = "the halves of the last axis are swapped (cos and sin, scale and shift, or gate and up)"
TIME = re.compile(r"(^|[._])(time\w*|t_emb\w*|temb|timesteps?)([._]|$)")
ROPE = re.compile(r"rope|rotary|pos_embed|freqs")


def of_module(call: Call, module, judge: ModuleJudge) -> str:
    """Describe the cause in one short sentence; empty when no pattern is known."""
    from parity.explain import causes_by_trial  # it needs MLX

    found = causes_by_trial.tried(call, module, judge) or _of_attention(causes_by_trial.attention_alone(call, judge))
    found = found or _rearranged(call, judge) or (of_distance(call.local) if call.local else "")
    found = found or next(filter(None, (_of_scalars(inside, judge) for inside in call.children)), "") or _by_name(call)
    return "; ".join(filter(None, (causes_by_trial.other_mask(call, judge), found)))


def of_input(giver: str, takers: list[Call], judge: ModuleJudge) -> str:
    """Find the wrong input of a correct module, and how it differs. ``takers``: the module and those around it."""
    path = takers[0].path
    found = of_wrong_input(takers, judge)
    return found or f"{path} is right but is given other values by {giver}'s own code"


def of_wrong_input(takers: list[Call], judge: ModuleJudge) -> str:
    """Describe which input of a correct module is wrong, and how; empty if unknown."""
    for taker in takers:
        scalar = _of_scalars(taker, judge)
        if scalar:
            return scalar
    # The outermost of them gets the wrong input directly from the code that makes it.
    taker, found = next(((one, found) for one in reversed(takers) if (found := of_given(one, judge))), (takers[0], ""))
    path = taker.path
    if any(map(TIME.search, (path.lower(), taker.reference.lower()))):
        return f"timestep: {path} is right but is given {found or 'something else (sinusoid, cos and sin, scale)'}"
    if any(map(ROPE.search, (path.lower(), taker.reference.lower()))):
        return f"RoPE: {path} is right but is given {found or 'other positions'}"
    return f"{path} is right but is given {found}" if found else ""


def _of_scalars(taker: Call, judge: ModuleJudge) -> str:
    names = judge.recorded.inputs(taker.event) if taker.event else []
    known = [judge.reference(taker, name).reshape(-1) for name in names]
    known = [values for values in known if values.dtype.kind == "f" and values.size <= FEW]
    rtol = DIFFERS[judge.limits.dtype]
    same = lambda one, other: one.size == other.size and np.allclose(one, other, rtol=rtol, atol=1e-6)  # noqa: E731
    wrong = [own for own in taker.scalars if not any(same(values, own) for values in known)]
    left = [values for values in known if not any(same(values, own) for own in taker.scalars)]
    for own in wrong:
        like = [values for values in left if values.size == own.size]
        if like:
            return _of_scalar(float(like[0][0]), float(own[0]), judge) if len(like) == 1 else ""
    return ""


def _of_scalar(reference: float, own: float, judge: ModuleJudge) -> str:
    guidance = float(judge.recorded.recording.facts["guidance"])
    if any(np.isclose(reference, guidance * scale) for scale in (1, 1000)):
        return f"guidance: the transformer is given {own:.6g}, the reference {reference:.6g}"
    return f"timestep: {of_timestep(reference, own)}"


def of_given(taker: Call, judge: ModuleJudge) -> str:
    """Describe how the first wrong argument differs from the reference's; empty if unknown."""
    names = judge.recorded.inputs(taker.event)
    known = [judge.reference(taker, name) for name in names if judge.recorded.recording.event(name).stride == 1]
    for own in taker.given:
        mask = masks.nearest(known, own)
        if mask is not None:
            if (mask != own).any():
                return f"another mask: it differs in {np.count_nonzero(mask != own)} of {mask.size} places"
            continue
        like = [(values, found) for values in known if (found := align(values, own)) is not None]
        if not like or min(found[1].relative for _, found in like) <= DIFFERS[judge.limits.dtype]:
            continue
        reference, (alignment, gap) = min(like, key=lambda item: item[1][1].relative)
        moved = alignment.to_reference(own)
        sentence = _of_argument(alignment.of_reference(reference), moved, gap)
        if sentence:
            return sentence
    return ""


def _of_argument(reference: np.ndarray, own: np.ndarray, gap: Distance) -> str:
    if reference.shape != own.shape:
        return ""
    if is_table(reference) and is_table(own):
        return f"another RoPE table: {of_tables(reference, own) or 'its angles differ'}"
    if reference.dtype.kind in "ib" and own.dtype.kind in "ib":
        return "other ids or another mask"
    if _halves(reference, own):
        return f"them in another order: {SWAPPED}"
    heads = turned_axis(reference, own)
    if heads:
        return f"them in another order: {heads}"
    return of_distance(gap) or of_values(reference, own).removeprefix("layout: ")


def of_distance(gap: Distance) -> str:
    """Describe a difference in sign or by a factor."""
    if gap.cosine < -0.999:
        return "the sign is reversed"
    if gap.cosine > 0.99999 and abs(gap.ratio - 1) > 1e-3:
        return f"a factor of {gap.ratio:.4g} (a scale is missing or applied twice)"
    return ""


def of_change(before: np.ndarray, reference: np.ndarray, own: np.ndarray) -> str:
    """Describe a change of numbers that is a factor of the reference's change, or has the other sign.

    Where the port's result is rounded to bfloat16, so is the small change in it; that much may be left.
    """
    wanted, change = (values.astype(np.float64).reshape(-1) - before.reshape(-1) for values in (reference, own))
    factor = float(wanted @ change / ((wanted @ wanted) or 1.0))
    rounding = ROUNDED * np.linalg.norm(own) if is_short(own) else SMALL * np.linalg.norm(change)
    known = np.linalg.norm(change - factor * wanted) <= rounding < np.linalg.norm(wanted) / 2
    if not known or abs(factor - 1) * np.linalg.norm(wanted) <= 2 * rounding:
        return ""
    sign = abs(factor + 1) * np.linalg.norm(wanted) <= 2 * rounding
    return "the sign is reversed" if sign else f"a factor of {factor:.3g} (a scale is missing or applied twice)"


def of_values(reference: np.ndarray, own: np.ndarray) -> str:
    """Describe how two aligned tensors differ: sign, factor, shift and scale, or the right values in another order."""
    if reference.size != own.size or not np.isfinite(own).all():
        return "" if np.isfinite(own).all() else "NaN or infinity"
    short = is_short(own) and not is_short(reference)
    if short and relative_error(reference, own) < ROUNDED:
        return "precision: the port passes on bfloat16"
    a, b = reference.reshape(-1).astype(np.float64), own.reshape(-1).astype(np.float64)
    # Rounding to bfloat16 moves a value by up to 1/256 of it.
    tolerance = 5e-3 if short else 1e-3
    far = relative_error(reference, own) > MOVED
    if far and np.allclose(np.sort(a), np.sort(b), rtol=tolerance, atol=tolerance / 10 * (np.abs(a).max() or 1)):
        return "layout: the right values in another order"
    if not np.ptp(a):
        return ""  # a constant fits any slope
    slope, offset = np.polyfit(a, b, 1)
    rest = np.linalg.norm(b - slope * a - offset) / (np.linalg.norm(b) or 1)
    if rest < 1e-3 and (abs(slope - 1) > 1e-4 or abs(offset) > 1e-4):
        sign = "the sign is reversed, " if slope < 0 else ""
        return f"{sign}the port has {slope:.4g} times the reference's value, plus {offset:.4g}"
    return ""


def of_sigmas(reference: np.ndarray, own: np.ndarray) -> str:
    """Describe a static shift that differs from the reference's, or another order of steps."""
    inner = (reference > 1e-4) & (reference < 1 - 1e-4) & (own > 1e-4) & (own < 1 - 1e-4)
    if not inner.any():
        return "the schedule differs"
    odds = (own[inner] / (1 - own[inner])) / (reference[inner] / (1 - reference[inner]))
    if np.ptp(odds) < 1e-2 * abs(odds.mean()) and abs(odds.mean() - 1) > 1e-3:
        return f"sigma shift: the port's is {odds.mean():.4g} times the reference's"
    return "the spacing of the steps differs (shift, terminal sigma or number of steps)"


def of_ids(reference: np.ndarray, own: np.ndarray) -> str:
    """Describe in which columns position ids differ (one column for each axis)."""
    differ = [n for n in range(own.shape[-1]) if (reference[..., n] != own[..., n]).any()]
    turned = [n for n in differ for m in differ if n < m and (reference[..., n] == own[..., m]).all()]
    how = ", swapped (height and width?)" if len(differ) == 2 and turned else ""
    return f"positions: the axes {' and '.join(map(str, differ))} of the ids differ{how}"


def of_timestep(reference: float, own: float) -> str:
    """Describe how the timestep that the transformer gets differs."""
    for name, value in (("1000 - t", 1000 - reference), ("1 - t", 1 - reference), ("t / 1000", reference / 1000)):
        if abs(own - value) <= 1e-3 * max(abs(value), 1e-6):
            return f"the transformer is given {own:.6g}, {name} of the reference's {reference:.6g}"
    return f"the transformer is given the timestep {own:.6g}, the reference {reference:.6g}"


def _of_attention(attention: list[dict]) -> str:
    for found in attention:
        wanted, scale = found["scale"]
        if wanted is not None and abs(wanted - scale) > 1e-4 * abs(wanted):
            return f"attention scale {scale:.5g}; the reference's is {wanted:.5g}"
        off = [name for name in ("q", "k", "v") if found[name] and found[name].relative > 0.02]
        if off:
            return _of_queries(found, off)
        if found["out"] and found["out"].relative > 0.02:
            return "the mask: queries, keys, values and scale are right, the attention's output is not"
    if attention and all(found["out"] for found in attention):
        return "what follows the attention: order of heads, gate or output projection"
    return ""


def _of_queries(found: dict, off: list[str]) -> str:
    which = " and ".join(off)
    reach = f"{which} reach{'es' * (len(off) == 1)} the attention"
    how = next(filter(None, (found[f"how {name}"] for name in off)), "")
    if how.startswith("in another order"):
        return f"order: {reach} {how}"
    if all(found[name].cosine > 0.999 for name in off):
        return f"attention scale: {off[0]} arrives {found[off[0]].ratio:.4g} times as large"
    if how and "v" not in off:
        return f"RoPE: {reach} with another rotation, {how}"
    if "v" not in off:
        return f"RoPE or a norm: {reach} with other values (rotated, or not normalised)"
    return f"{reach} in another order or from other weights (heads or layout)"


def _rearranged(call: Call, judge: ModuleJudge) -> str:
    names = judge.recorded.results(call.event)
    for n, own in enumerate(call.own):
        for m, name in enumerate(names):
            reference = judge.reference(call, name)
            found = align(reference, own)
            if found and m != n and found[1].relative < 1e-4 and len(call.own) == len(names):
                return f"order: result {n} is the reference's result {m} (modulation or split order)"
            if found and m == n and found[1].relative > 1e-3:
                theirs, mine = found[0].of_reference(reference), found[0].to_reference(own)
                if _halves(theirs, mine):
                    return f"order: {SWAPPED}"
                heads = turned_axis(theirs, mine)
                if heads:
                    return f"order: {heads}"
                cause = of_values(theirs, mine)
                if cause.startswith("layout"):
                    return cause
    return ""


def _halves(reference: np.ndarray, own: np.ndarray) -> bool:
    own = own.reshape(reference.shape) if own.size == reference.size else own
    if own.shape != reference.shape or own.shape[-1] % 2:
        return False
    swapped = np.roll(own, own.shape[-1] // 2, axis=-1)
    return float(np.linalg.norm(swapped - reference)) < remaining(reference, own)


def _by_name(call: Call) -> str:
    lowered = call.path.lower().rsplit(".", 1)[-1]
    if ROPE.search(lowered):
        return "RoPE: theta, axes or order of the frequencies"
    if TIME.search(lowered):
        return "timestep embedding: order of cos and sin, frequencies or scale"
    if "norm" in lowered:
        return "the norm: its kind, axis or eps, or the order of scale and shift"
    if any(word in lowered for word in GATED):
        return "the activation (its kind, tanh or erf) or the order of gate and up"
    short = bool(call.own) and all(is_short(own) for own in call.own)
    if short and call.local and call.local.relative < ROUNDED:
        return "precision: a cast to a shorter type"
    return "" if call.leaf else _own_code(call)


def _own_code(call: Call) -> str:
    names = list(
        dict.fromkeys(part.path.removeprefix(f"{call.path}.") for part in call.children if not _is_judged(part))
    )
    if not names:
        return "its own code, not that of a module inside it: order, gate, residual or modulation"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"its own code or a module inside it that was not recorded ({', '.join(names[:3])}{more})"


def _is_judged(call: Call) -> bool:
    return bool(call.event) or bool(call.children) and all(map(_is_judged, call.children))
