"""Recognise known patterns in the numbers of a wrong module, so that the verdict can say what is likely wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parity.compare.alignment import align
from parity.compare.limits import ROUNDED
from parity.metrics import Distance, is_short, relative_error

if TYPE_CHECKING:  # they need MLX, the numbers here do not
    from parity.run.module_judge import Call, ModuleJudge

EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
GOOD = 2.5e-6
GATED = ("mlp", "ff", "feed_forward", "act", "swiglu", "glu")


def of_module(call: Call, module, judge: ModuleJudge) -> str:
    """One short sentence; empty when no pattern is known."""
    found = _epsilon(call, module, judge) or _of_attention(call) or _rearranged(call, judge)
    found = found or (of_distance(call.local) if call.local else "")
    return found or _by_name(call)


def of_input(giver: str, taker: str) -> str:
    """A right module that gets a wrong input."""
    lowered = taker.lower()
    if any(word in lowered for word in ("time", "t_emb", "temb")):
        return f"timestep: {taker} is right but gets something else (sinusoid, cos and sin, scale)"
    if any(word in lowered for word in ("rope", "pos_embed", "rotary")):
        return f"RoPE: {taker} is right but gets other positions"
    return f"{taker} is right but gets something else from {giver}'s own code"


def of_distance(gap: Distance) -> str:
    """A sign or a factor."""
    if gap.cosine < -0.999:
        return "the sign is reversed"
    if gap.cosine > 0.99999 and abs(gap.ratio - 1) > 1e-3:
        return f"a factor of {gap.ratio:.4g} (a scale is missing or applied twice)"
    return ""


def of_values(reference: np.ndarray, own: np.ndarray) -> str:
    """Of two aligned tensors: sign, factor, a shift and scale, or the right values in another order."""
    if reference.size != own.size or not np.isfinite(own).all():
        return "" if np.isfinite(own).all() else "NaN or infinity"
    short = is_short(own) and not is_short(reference)
    if short and relative_error(reference, own) < ROUNDED:
        return "precision: the port hands on bfloat16"
    a, b = reference.reshape(-1).astype(np.float64), own.reshape(-1).astype(np.float64)
    # Rounding to bfloat16 moves a value by up to 1/256 of it.
    tolerance = 5e-3 if short else 1e-3
    if np.allclose(np.sort(a), np.sort(b), rtol=tolerance, atol=tolerance / 10 * (np.abs(a).max() or 1)):
        return "layout: the right values in another order"
    if not np.ptp(a):
        return ""  # a constant has any slope
    slope, offset = np.polyfit(a, b, 1)
    rest = np.linalg.norm(b - slope * a - offset) / (np.linalg.norm(b) or 1)
    if rest < 1e-3 and (abs(slope - 1) > 1e-4 or abs(offset) > 1e-4):
        sign = "the sign is reversed, " if slope < 0 else ""
        return f"{sign}the port has {slope:.4g} times the reference's value, plus {offset:.4g}"
    return ""


def of_sigmas(reference: np.ndarray, own: np.ndarray) -> str:
    """A static shift other than the reference's, or another order of steps."""
    inner = (reference > 1e-4) & (reference < 1 - 1e-4) & (own > 1e-4) & (own < 1 - 1e-4)
    if not inner.any():
        return "the schedule differs"
    odds = (own[inner] / (1 - own[inner])) / (reference[inner] / (1 - reference[inner]))
    if np.ptp(odds) < 1e-2 * abs(odds.mean()) and abs(odds.mean() - 1) > 1e-3:
        return f"sigma shift: the port's is {odds.mean():.4g} times the reference's"
    return "the spacing of the steps differs (shift, terminal sigma or number of steps)"


def of_ids(reference: np.ndarray, own: np.ndarray) -> str:
    """How position ids differ: in which of their columns, one for each axis."""
    differ = [n for n in range(own.shape[-1]) if (reference[..., n] != own[..., n]).any()]
    turned = [n for n in differ for m in differ if n < m and (reference[..., n] == own[..., m]).all()]
    how = ", in each other's places (height and width?)" if len(differ) == 2 and turned else ""
    return f"positions: the axes {' and '.join(map(str, differ))} of the ids differ{how}"


def of_timestep(reference: float, own: float) -> str:
    """How the timestep that the transformer is given differs."""
    for name, value in (("1000 - t", 1000 - reference), ("1 - t", 1 - reference), ("t / 1000", reference / 1000)):
        if abs(own - value) <= 1e-3 * max(abs(value), 1e-6):
            return f"the transformer is given {own:.6g}, {name} of the reference's {reference:.6g}"
    return f"the transformer is given the timestep {own:.6g}, the reference {reference:.6g}"


def _epsilon(call: Call, module, judge: ModuleJudge) -> str:
    eps = getattr(module, "eps", None)
    if not isinstance(eps, float) or call.replay is None or not call.leaf:
        return ""
    found = []
    try:
        for other in EPSILONS:
            module.eps = other
            own = call.replay()
            gap = judge.outputs(call.event, own) if own else None
            if gap and gap.relative <= min(GOOD, call.local.relative / 2) and other != eps:
                found.append((gap.relative, other))
    finally:
        module.eps = eps
    if not found:
        return ""
    best = min(found)[0]  # far below the variances, one eps is as good as another: the largest that fits is named
    return f"eps is {eps:g}, the reference computes with {max(o for g, o in found if g <= 1.2 * best + 1e-8):g}"


def _of_attention(call: Call) -> str:
    for found in call.attention:
        wanted, scale = found["scale"]
        if wanted is not None and abs(wanted - scale) > 1e-4 * abs(wanted):
            return f"attention scale {scale:.5g}, the reference's is {wanted:.5g}"
        off = [name for name in ("q", "k", "v") if found[name] and found[name].relative > 0.02]
        if off and "v" not in off:
            if all(found[name].cosine > 0.999 for name in off):
                return f"attention scale: {off[0]} arrives {found[off[0]].ratio:.4g} times as large"
            same = all(abs(found[name].ratio - 1) < 1e-3 for name in off)
            which = " and ".join(off)
            how = "turned otherwise" if same else "otherwise (turned, or not normalised)"
            return f"RoPE: {which} reach{'es' * (len(off) == 1)} the attention {how}"
        if off:
            return f"{', '.join(off)} reach the attention in another order (heads or layout)"
        if found["out"] and found["out"].relative > 0.02:
            return "the mask: queries, keys, values and scale are right, the attention's output is not"
    if call.attention and all(found["out"] for found in call.attention):
        return "what follows the attention: order of heads, gate or output projection"
    return ""


def _rearranged(call: Call, judge: ModuleJudge) -> str:
    names = judge.results(call.event)
    for n, own in enumerate(call.own):
        for m, name in enumerate(names):
            reference = judge.recording.get(name)
            found = align(reference, own)
            if found and m != n and found[1].relative < 1e-4 and len(call.own) == len(names):
                return f"order: result {n} is the reference's result {m} (modulation or split order)"
            if found and m == n and found[1].relative > 1e-3:
                cause = of_values(found[0].of_reference(reference), found[0].to_reference(own))
                if cause.startswith("layout"):
                    return cause
                if _halves(reference, found[0].to_reference(own)):
                    return (
                        "order: the halves of the last axis are swapped (cos and sin, scale and shift, or gate and up)"
                    )
    return ""


def _halves(reference: np.ndarray, own: np.ndarray) -> bool:
    own = own.reshape(reference.shape) if own.size == reference.size else own
    if own.shape != reference.shape or own.shape[-1] % 2:
        return False
    swapped = np.roll(own, own.shape[-1] // 2, axis=-1)
    return float(np.linalg.norm(swapped - reference)) < 1e-3 * float(np.linalg.norm(reference))


def _by_name(call: Call) -> str:
    lowered = call.path.lower().rsplit(".", 1)[-1]
    if any(word in lowered for word in ("rope", "pos_embed", "rotary")):
        return "RoPE: theta, axes or order of the frequencies"
    if any(word in lowered for word in ("time", "t_embed")):
        return "timestep embedding: order of cos and sin, frequencies or scale"
    if "norm" in lowered:
        return "the norm: its kind, axis or eps, or the order of scale and shift"
    if any(word in lowered for word in GATED):
        return "the activation (its kind, tanh or erf) or the order of gate and up"
    if call.local and call.local.relative < 5e-3:
        return "precision: a cast to a shorter type"
    return "" if call.leaf else "its own code, not that of a module inside it: order, gate, residual or modulation"
