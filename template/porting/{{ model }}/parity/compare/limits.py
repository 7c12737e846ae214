"""The largest allowed errors of a stage or a module, based on the effect of rounding on the reference."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGE = {"float32": 1e-4, "bfloat16": 1e-2}
FLOOR = 2e-5  # below this, two correct float32 programs differ by the order in which they add
LEAF = 2.5e-6  # leaves of correct ports stay below 1.5e-6, an eps of 1e-5 instead of 1e-6 gives 3e-6 and more
LARGE, MOST = 3e5, 20.0  # a norm over more values than LARGE has more rounding, on both sides
CONTAINER = 1e-5
MOST_ROUGH = 1e-4  # upper bound for the effect of rounding on a module that contains others
SENSITIVE = 64.0  # correct modules stay below 40 times the change from the last bit of their input
ANGLE = 1e-7  # the rounding of an angle in float32, which a sine passes on: 1e-4 for a timestep of 1000
PARTIAL_BF16 = 0.1
ROUNDED = 5e-3  # twice the error that rounding to bfloat16 makes
UNCHANGED = 2.7e-3  # sensitivity, to the last bit of bfloat16, of a module that passes its input on
COMBINED = 0.04  # for a sum of the reference's own tensors: correct ports stay below 0.014 at a guidance of 7
FAR = 0.35  # above this the result is wrong, unless the reference's own bfloat16 run is that far off
UNSTEADY = 1.5  # times the reference's own distance; beyond it, the result is wrong in any case
REPEATED = 2e-3  # of a transformer that ran again in float32: correct ports stay below 2e-4
FLOAT32 = "float32/"  # prefix of such a result's name
BF16_FACTOR = 3.0  # a correct bfloat16 port was never further away than 1.4 times the reference's own bfloat16 run
FP32_SHARE = 1 / 128  # share of the reference's own gap; correct float32 ports stay below 1/300 of it


@dataclass(frozen=True)
class Limits:
    """``gaps`` are the reference's own float32-to-bfloat16 distances by event name."""

    dtype: str
    gaps: dict[str, float] = field(default_factory=dict)

    def of_stage(self, stage: str, name: str, exact: bool = False) -> float:
        """The largest relative error that passes, for one tensor of a stage. ``exact``: it was computed in float32."""
        if name.startswith("sigmas/"):
            return 1e-4  # both sides compute the schedule in float32 whatever the dtype
        if name.startswith(FLOAT32):  # a correct port differs as much as the reference does with such weights
            return REPEATED + self.gaps.get(f"rounded:{_event(name.removeprefix(FLOAT32))}", 0.0)
        if name.startswith("latents/"):
            return STAGE[self.dtype]  # the same latents can only differ by rounding
        gap = self.gap(name, stage)
        if self.dtype == "bfloat16":
            limit = max(STAGE["bfloat16"], BF16_FACTOR * gap) if gap is not None else 0.1
            combined = ROUNDED if exact and name.startswith("guidance/") else COMBINED
            return min(combined, limit) if name.startswith(("guidance/", "scheduler/")) else limit
        return STAGE["float32"] if gap is None else min(STAGE["float32"], max(FLOOR, gap * FP32_SHARE))

    def gap(self, name: str, stage: str = "") -> float | None:
        """How far the reference's own bfloat16 run is from its float32 run; None if that was not measured."""
        return self.gaps.get(("free:" if stage in ("loop", "end_to_end") else "") + _event(name))

    def is_unsteady(self, name: str) -> bool:
        """Whether that distance is too large to limit anything."""
        return self.dtype == "bfloat16" and BF16_FACTOR * (self.gap(name) or 0.0) > FAR

    def of_output(self, call) -> float:
        """The largest error that has only accumulated: above it, something before or in the module is wrong."""
        gap = self.gaps.get(f"{call.event}/out/0", 0.0)
        if self.dtype == "bfloat16":
            return min(max(FAR, UNSTEADY * gap), max(0.03, BF16_FACTOR * gap))
        return max(STAGE["float32"], gap * FP32_SHARE)

    def of_module(self, call) -> float:
        """The largest error that a module may make on the reference's input. Replays are in float32 in every dtype."""
        if self.dtype == "bfloat16" and not call.whole:
            return PARTIAL_BF16  # part of its input is from the bfloat16 run
        if self.dtype == "bfloat16" and call.short:
            casts = sum(inside.short and not any(child.short for child in inside.children) for inside in call.walk())
            return min(PARTIAL_BF16, ROUNDED * casts**0.5)  # to the dtype of its weights, each with its own rounding
        if call.leaf and call.angle:
            return max(LEAF, ANGLE * call.angle)
        if call.leaf:
            return LEAF * min(MOST, max(1.0, call.size / LARGE))
        gap = self.gaps.get(f"{call.event}/out/0", 0.0)
        gap = gap if BF16_FACTOR * gap <= FAR else 0.0  # so far off that rounding cannot be the cause
        leaves = sum(
            inside.leaf for inside in call.walk()
        )  # each module rounds independently, so the errors add up slowly
        return min(MOST_ROUGH, max(CONTAINER, gap / 1000, LEAF * leaves**0.5))

    def of_sensitive(self, call, sensitivity: float) -> float:
        """The same for a module that contains others and amplifies its input's rounding.

        ``sensitivity`` is to a change of the last bit of float32, or of bfloat16 for a module that casts to it.
        """
        limit = self.of_module(call)
        if call.leaf or self.dtype == "bfloat16" and not call.whole:
            return limit
        if self.dtype == "bfloat16" and call.short:
            return min(PARTIAL_BF16, max(limit, limit * sensitivity / UNCHANGED))
        return min(MOST_ROUGH, max(limit, SENSITIVE * sensitivity))


def _event(name: str) -> str:
    rest = name.split("/", 1)[1]
    if name.startswith("prompt/"):
        return f"transformer.0/{rest}"
    if rest.startswith("scheduler."):
        return f"loop/{rest}"
    return f"{name.split('/')[0]}/{rest}"
