"""Check that each layer of a quantized copy has the right bits and still holds its weight."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from parity.answers import FAIL, PASS
from parity.compare.claim_row import Row

RANGE = 4.8  # the span of a group of 64 normal numbers, in standard deviations
ROOM = 3.0  # a layer may have this many times the error that follows from RANGE
STAGE = {8: 5e-2, 6: 0.1, 5: 0.2, 4: 0.35, 3: 0.6}  # correct ports: 2e-2 at 8 bits, 0.2 at 4


@dataclass(frozen=True)
class Layer:
    """A layer that could be quantized.

    ``bits``: None in full precision. ``error``: the quantized weight's error relative to the full-precision weight.
    """

    path: str
    bits: int | None
    error: float = 0.0


def limit(bits: int) -> float:
    """The largest error of one layer's weight."""
    return ROOM * RANGE / (2**bits - 1) / 12**0.5


def judge(component: str, layers: list[Layer], bits: int, unquantized: tuple[str, ...] | None) -> Row:
    """One component. ``unquantized`` has patterns of paths that stay in full precision; None if the port lists none."""
    quantized = [layer for layer in layers if layer.bits]
    full = [layer.path for layer in layers if not layer.bits]
    problems = [f"{one.path} is in {one.bits} bits, not {bits}" for one in quantized if one.bits != bits]
    if unquantized is not None and quantized:
        listed = {one.path for one in layers if any(fnmatchcase(one.path, pattern) for pattern in unquantized)}
        problems += [
            f"{one.path} is quantized, although UNQUANTIZED lists it" for one in quantized if one.path in listed
        ]
        problems += [
            f"{path} is in full precision, although UNQUANTIZED does not list it" for path in full if path not in listed
        ]
    problems += [
        f"{one.path} lost its weight (relL2 {one.error:.1e} of {limit(one.bits):.1e})"
        for one in quantized
        if not one.error <= limit(one.bits)
    ]
    worst = max((one.error for one in quantized), default=0.0)
    note = f"{len(quantized)} layers in {bits} bits (worst weight {worst:.1e}), {len(full)} in full precision"
    if problems:
        note += f"; {problems[0]}" + f" and {len(problems) - 1} more" * (len(problems) > 1)
    return Row(component, FAIL if problems else PASS, note=note)


def stage(name: str, full: float, quantized: float, bits: int) -> Row:
    """One stage's error next to that in full precision."""
    most = STAGE.get(bits, STAGE[4])
    note = f"relL2 {quantized:.1e} of {most:.1e}, float32 {full:.1e}"
    return Row(name, PASS if quantized <= most else FAIL, quantized, most, note)
