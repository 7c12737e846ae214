"""How much rounding moves a module's result: some modules (attention without a scale) amplify it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from parity.metrics import distance
from parity.run.mlx_taps import arrays
from parity.run.module_call import Call
from parity.run.run_trace import rebuild

LAST_BIT = 2.0**-23
LAST_OF_SHORT = 2.0**-9  # half of bfloat16's last bit, as rounding changes a number by up to that


def sensitivity(call: Call, bit: float = LAST_BIT) -> float:
    """The relative change of a call's result when its input changes by a ``bit``; 0 if the call cannot run again."""
    if call.replay is None:
        return 0.0
    again, args, kwargs = call.replay.args
    random = np.random.default_rng(0)
    moved = [_moved(array, random, bit) for array in arrays((args, kwargs))]
    before, after = call.replay(), type(call.replay)(call.replay.func, again, *rebuild((args, kwargs), iter(moved)))()
    gaps = [distance(one, other).relative for one, other in zip(before, after, strict=False)]
    return max((gap for gap in gaps if np.isfinite(gap)), default=0.0)


def _moved(array: mx.array, random: np.random.Generator, bit: float) -> mx.array:
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    noise = random.standard_normal(array.shape).astype(np.float32)
    noise = np.copysign(np.maximum(np.abs(noise), 1), noise)  # half a bit would be rounded away
    return array * (1 + bit * mx.array(noise)).astype(array.dtype)
