"""The sizes that a pipeline generates as requested: the multiple of both sides, found by trying."""

from __future__ import annotations

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import Intervention, Trace, run

_REFUSALS = AssertionError, RuntimeError, ValueError, IndexError, TypeError

_MULTIPLES = 16, 32, 48, 64, 96, 128  # in pixels; mflux rounds sizes to the first


def drawn_sizes(pipe, call: dict, trace: Trace) -> Fact:
    """The first multiple at which a size is neither refused nor changed.

    ``trace``: a run of ``call``. The sides of a trial are three and five times the multiple, so that they are not
    multiples of a larger one.
    """
    where, refused = "sizes generated in one step each", {}
    if trace.decoded is None:
        return Fact("sizes", None, where, ("nothing was decoded",))
    pixels = call["height"] / trace.decoded.shape[-2]
    for multiple in _MULTIPLES:
        width, height = 3 * multiple, 5 * multiple
        own = call | {"width": width, "height": height, "num_inference_steps": 1}
        own |= {"max_area": width * height} if "max_area" in own else {}
        drawn = run(pipe, own, Intervention(stop_at_decode=True), ends=_REFUSALS)
        if drawn.error or drawn.decoded is None:
            refused[multiple] = drawn.error or "nothing was decoded"
            continue
        found = [int(side * pixels) for side in drawn.decoded.shape[:-3:-1]]
        if found == [width, height]:
            return Fact("sizes", {"multiple": multiple} | ({"others": refused} if refused else {}), where)
        refused[multiple] = f"{found[0]}x{found[1]} is generated instead of {width}x{height}"
    return Fact("sizes", None, where, tuple(f"{multiple}: {why}" for multiple, why in refused.items()))
