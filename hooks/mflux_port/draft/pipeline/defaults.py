"""The pipeline's default behaviour, from its signature and its guider."""

from __future__ import annotations

import inspect

from mflux_port.draft.pipeline.fact import Fact

_ASKED = ("num_inference_steps", "guidance_scale", "true_cfg_scale", "negative_prompt", "max_sequence_length", "sigmas")


def defaults(pipe) -> Fact:
    """The default steps, guidance, negative prompt and prompt length."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    value = {name: parameters[name].default for name in _ASKED if name in parameters}
    where = f"signature of {type(pipe).__name__}.__call__"
    guider = getattr(pipe, "guider", None)
    if guider is not None:
        value["guider"] = type(guider).__name__
        value["guidance_scale"] = getattr(guider, "guidance_scale", None)
        where += f", {type(guider).__name__}"
    return Fact("defaults", value, where)


def guidance_keyword(pipe) -> str | None:
    """The keyword that sets classifier-free guidance; None for a pipeline without one."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    return next((name for name in ("true_cfg_scale", "guidance_scale") if name in parameters), None)
