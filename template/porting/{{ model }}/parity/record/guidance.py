"""Find the guidance that a pipeline applies: the given value, the calls of its transformer, and what it ran."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np

from parity.errors import ParityError
from parity.record.probe import Probe

OFF = (1.0, 0.0)  # some pipelines turn guidance off with one of these values, some with the other


def settle(pipe, run, noise: int, call):
    """The run with the guidance that makes this pipeline call its transformer once a step, if that was requested.

    ``call(pipe, run)`` runs the pipeline, ``noise`` is the number of elements that it draws. Raises ParityError for a
    guidance with which the port cannot be compared.
    """
    if not run.unguided:
        if not run.guided_port and rows(pipe, run, noise, call) > 1:
            raise ParityError(
                f"--guidance {run.guidance:g} makes {type(pipe).__name__} combine several predictions a step, and the "
                "port makes one (supports_guidance: false in the answers); leave --guidance out, or change that answer"
            )
        return run
    for value in dict.fromkeys((run.guidance, *OFF)):
        asked = replace(run, guidance=value)
        if rows(pipe, asked, noise, call) == 1:
            return asked
    return run


def rows(pipe, run, noise: int, call) -> int:
    """The number of predictions that the pipeline combines into one in the first step, counted up to 2."""
    for stand_in in (True, False):
        probe = Probe(pipe, lambda: call(pipe, run))
        probe.most, probe.stand_in = 1, stand_in
        try:
            probe.inputs(np.arange(1, noise + 1, dtype=np.float32))
            break
        except Exception:  # noqa: BLE001 - the pipeline may fail when its transformer returns zeros
            if not stand_in:
                raise
    return probe.rows


def arguments(pipe, value: float) -> dict:
    """The guidance under this pipeline's argument names."""
    known = inspect.signature(pipe.__call__).parameters
    given = {name: value for name in ("guidance_scale", "true_cfg_scale", "distilled_guidance_scale") if name in known}
    if "guidance_schedule" in known:
        given["guidance_schedule"] = None  # a list with a value for each step; the two arguments exclude each other
    return given


def set_guider(pipe, value: float) -> None:
    """Set the value in a pipeline whose guidance is a separate component that ignores the call's arguments."""
    guider = getattr(pipe, "guider", None)
    if guider is None or not hasattr(guider, "new"):
        return
    pipe.guider = guider.new(guidance_scale=value)
    (pipe.guider.enable if value > 1 else pipe.guider.disable)()


def applied(pipe, run, names: dict[str, list[str]], branches: int) -> dict:
    """The result: ``names`` are the arguments of the transformer's calls, ``branches`` the first step's predictions."""
    guider = getattr(pipe, "guider", None)
    found = {"branches": branches, "embedded": any("guidance" in name for call in names.values() for name in call)}
    if guider is not None:
        found["guider"] = type(guider).__name__
    return found | {"value": run.guidance if branches > 1 or found["embedded"] else None}


def sentence(run, found: dict, asked: float) -> str:
    """A line for the user: what was requested, and what ran if that differs."""
    if found["branches"] > 1:
        return f"guidance {run.guidance:g}: {found['branches']} predictions a step"
    if found["embedded"]:
        return f"guidance {run.guidance:g}, an input of the transformer: one prediction a step"
    if asked > 1 and not run.unguided:
        return f"no guidance: the pipeline made one prediction a step at {asked:g} (it may need --negative-prompt)"
    return "no guidance: one prediction a step"
