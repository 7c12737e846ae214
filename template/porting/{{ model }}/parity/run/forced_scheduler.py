"""The port's scheduler in a run: its schedule and its steps are compared, and in a forced run they are the reference's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from parity.metrics import distance
from parity.run.mlx_taps import to_numpy
from parity.run.patches import Patches
from parity.run.run_state import RunState
from parity.run.run_trace import LATENTS, Comparison, scheduler_classes

SIGMAS = "scheduler/scheduler/out/0"


class ForcedScheduler:
    """Replaces ``step``, ``sigmas`` and ``timesteps`` of every scheduler; ``ended`` is called after each step."""

    def __init__(self, state: RunState, patches: Patches, ended: Callable[[], None]):
        self.state, self.ended = state, ended
        self._patches = patches
        self._sigmas: dict[type, property] = {}
        self._read: dict[type, mx.array] = {}  # the port's own schedule, as the loop last read it

    def attach(self) -> None:
        """Replace them until the patches are undone."""
        for kind in scheduler_classes():
            own = dict(vars(kind))
            if "step" in own:
                self._patches.set(kind, "step", self._around_step(kind.step))
            if isinstance(own.get("sigmas"), property):
                self._sigmas[kind] = own["sigmas"]
                self._replace(kind, "sigmas", functools.partial(self._forced_sigmas, kind))
            if isinstance(own.get("timesteps"), property):
                self._replace(kind, "timesteps", self._forced_timesteps)

    def _replace(self, kind: type, name: str, value: Callable) -> None:
        original = vars(kind)[name].fget
        self._patches.set(kind, name, property(lambda scheduler: value(scheduler, original(scheduler))))

    def _own_sigmas(self, scheduler) -> mx.array:
        kind = next(kind for kind in type(scheduler).__mro__ if kind in self._sigmas)
        return mx.array(self._sigmas[kind].fget(scheduler))

    def _used_sigmas(self, scheduler) -> np.ndarray:
        """The schedule of the steps. An object that only makes the steps may have it from another scheduler."""
        own = to_numpy(self._own_sigmas(scheduler)).reshape(-1)
        if not self.state.forced or not np.array_equal(own, self._wanted_sigmas()[: len(own)]):
            return own
        others = [values for kind, values in self._read.items() if not isinstance(scheduler, kind)]
        given = [to_numpy(mx.array(values)).reshape(-1) for values in others]
        return next((values for values in reversed(given) if values.shape == own.shape), own)

    def _wanted_sigmas(self) -> np.ndarray:
        return self.state.recording.get(SIGMAS).reshape(-1)

    def _forced_sigmas(self, kind: type, scheduler, own):
        self._read[kind] = own
        # Only the scheduler is to blame for a wrong schedule: the transformer must not get its timesteps.
        wanted = self._wanted_sigmas()
        if not self.state.forced or not isinstance(own, mx.array) or own.shape != wanted.shape:
            return own
        return mx.array(wanted).astype(own.dtype)

    def _forced_timesteps(self, scheduler, own):
        """The reference's timesteps if the port's are its sigmas times one factor, otherwise the port's own."""
        if not self.state.forced or not isinstance(own, mx.array) or own.ndim != 1:
            return own
        sigmas, wanted = (to_numpy(values)[: own.size] for values in (self._own_sigmas(scheduler), scheduler.sigmas))
        given = to_numpy(own).astype(np.float64)
        if len(sigmas) != own.size or not np.abs(sigmas).max(initial=0.0):
            return own
        factor = float(given @ sigmas / (sigmas @ sigmas))
        same = np.allclose(given, factor * sigmas, rtol=1e-4, atol=1e-4 * abs(factor))
        return mx.array((factor * wanted).astype(np.float32)).astype(own.dtype) if same else own

    def _around_step(self, original):
        signature = inspect.signature(original)

        def step(scheduler, *args, **kwargs):
            bound = signature.bind(scheduler, *args, **kwargs)
            self.state.stage = "scheduler"
            self._compare_sigmas(scheduler)
            self._exchange_arguments(bound.arguments)
            result = original(*bound.args, **bound.kwargs)
            label = "scheduler" if self.state.forced else "loop"
            result = self.state.exchange(f"loop/scheduler.{self.state.step}/out/0", result, label)
            self.ended()
            return result

        return step

    def _exchange_arguments(self, arguments: dict) -> None:
        state = self.state
        name = f"loop/scheduler.{state.step}/in"
        guided = "guidance" if state.forced and "transformer" not in state.skip else ""
        handed_on = LATENTS if state.forced else ""  # in a forced run they can only be the reference's
        noise = state.exchange(f"{name}/0", arguments["noise"], guided)
        arguments["noise"] = noise.astype(state.prediction) if state.forced and state.prediction else noise
        arguments["latents"] = state.exchange(f"{name}/1", arguments["latents"], handed_on)

    def _compare_sigmas(self, scheduler) -> None:
        if self.state.step:
            return
        wanted, own = self._wanted_sigmas(), self._used_sigmas(scheduler)
        length = min(len(wanted), len(own))
        pair = wanted[:length], own[:length]
        one_apart = abs(len(wanted) - len(own)) <= 1  # whether the last zero is part of it is a convention
        self.state.trace.seen.append(Comparison("sigmas/scheduler/out/0", *pair, distance(*pair), one_apart))
