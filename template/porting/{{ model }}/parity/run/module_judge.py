"""Judge every module of a running port: its output, and its result for the reference's own input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.compare.alignment import align
from parity.compare.calls import FEW
from parity.compare.limits import LEAF, MOST_ROUGH, Limits
from parity.compare.pairing import Pairing
from parity.metrics import Distance, is_half
from parity.record.recording import Recording, is_denoiser
from parity.run import attention_calls
from parity.run.call_events import CallEvents
from parity.run.forced_run import ForcedRun
from parity.run.mlx_taps import Sink, arrays, modules, to_numpy
from parity.run.module_call import Call
from parity.run.module_replay import NEAR, reference_inputs, replay_of, run_alone, with_results
from parity.run.recorded_calls import RecordedCalls
from parity.run.sensitivity import sensitivity

SIGNIFICANT = 1e-5  # a different eps stays below it; an error that fails a stage does not
ENOUGH = 3  # the number of wrong modules to find in one stage; the first of them is the answer
CHANNELS_LAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.BatchNorm, nn.InstanceNorm, nn.Upsample)
TIMESTEP = 1000.0  # the largest angle that a timestep becomes
SMALL = 1 << 16  # results of up to this many numbers are kept
PASSED_ON = 4  # a correct module amplifies its input's error less


class ModuleJudge(Sink):
    """Judges the modules of one forced ``run``, which knows which of the reference's calls a component is in now.

    ``waived`` says why an error at a path is not a fault; what is around such a module is judged like any other.
    """

    def __init__(
        self,
        recording: Recording,
        pairing: Pairing,
        run: ForcedRun,
        limits: Limits,
        waived: Callable[[str, float], str],
    ):
        self.pairing, self.run, self.limits = pairing, run, limits
        self.recorded = RecordedCalls(recording, run.state)
        self.roots: list[Call] = []
        self._waived = waived
        self._modules = modules(run.model)
        self._events = CallEvents(self.recorded, pairing)
        self._guilty: Counter = Counter()
        self._first_wrong: dict[str, Call] = {}  # by stage: the first call with a wrong result, or what is around it
        self._stack: list[Call] = []

    def enter(self, path, module, args, kwargs):
        component = path.split(".")[0]
        stage = self.run.stage_of(component)
        if stage == component:  # an encoder whose name is not the reference's
            stage = self.pairing.components.get(component, component)
        if "." not in path and stage.startswith("text_encoder"):
            self._events.begin_encoding(stage, args, kwargs)
        if "." not in path and is_denoiser(path):
            self._events.restart(f"{stage}/{path}")  # two rows of one reference call may be two calls of the port
        call = Call(stage, path, self.pairing.modules.get(path, ""), len(self._events))
        call.event = self._events.event(stage, path)
        siblings = self._stack[-1].children if self._stack else self.roots
        siblings.append(call)
        self._stack.append(call)
        return args, kwargs, None

    def leave(self, path, module, args, kwargs, result, again):
        call = self._stack.pop()
        if call.event:
            results = self._measure(call, module, args, kwargs, result)
            self._judge(call, args, kwargs, again)
            call.rough = self._is_rough(call)
            call.own = results if call.rough and not call.own and call.size <= SMALL else call.own
        return result

    def attention(self, path, query, key, value, scale, result) -> None:
        call = self._stack[-1] if self._stack else None
        if call is None or not call.event:
            return
        call.attention.append(self._attention(call, len(call.attention), query, key, value, scale, result))

    def compare_attention(self, call: Call, number: int, query, key, value, scale: float, result) -> dict:
        """The comparison of a call's attention in another run of the call alone."""
        with self.run.state.at(call.moment):
            return self._attention(call, number, query, key, value, scale, result)

    def measure(self, call: Call, results: list[np.ndarray]) -> Distance | None:
        """How far other results of a call are from the reference's, after the run."""
        with self.run.state.at(call.moment):
            return self._output(call, results)

    def reference(self, call: Call, name: str) -> np.ndarray:
        """A tensor of a call as the reference has it, after the run."""
        with self.run.state.at(call.moment):
            return self.recorded.get(name)

    def _attention(self, call: Call, number: int, query, key, value, scale: float, result) -> dict:
        event = f"{call.event}.sdpa#{number}" if number else f"{call.event}.sdpa"
        return attention_calls.compared(self.recorded, event, query, key, value, scale, result)

    def _measure(self, call: Call, module, args: tuple, kwargs: dict, result) -> list[np.ndarray]:
        """Judge the call as it ran. Returns its results."""
        results = [to_numpy(array) for array in arrays(result)]
        call.size = max((one.size for one in results), default=0)
        if isinstance(module, CHANNELS_LAST):
            self.recorded.has_channels_last(call.event)
        call.angle = largest_angle(module, args, kwargs, result)
        call.ids = self._ids(call, args, kwargs)
        call.moment = self.run.state.moment
        call.scalars = [to_numpy(array).reshape(-1) for array in arrays((args, kwargs)) if _is_scalar(array)]
        call.output = self._output(call, results)
        self._keep_given(call, args, kwargs)
        return results

    def _judge(self, call: Call, args: tuple, kwargs: dict, again: Callable) -> None:
        """The call's own error: the error of its result for the reference's input."""
        if call.stage.startswith("text_encoder") and call.root:
            return  # an encoder's own result is one of several hidden states: the stage judges it
        if self.recorded.thinned(call.event):
            self._judge_thinned(call, args, kwargs)
        elif not self._known(call):
            self._replay(call, args, kwargs, again)
            if self._is_wrong(call, self.limits.of_module(call)):
                self._guilty[call.stage] += 1

    def _replay(self, call: Call, args: tuple, kwargs: dict, again: Callable) -> None:
        again = self._without_known_errors(call, again)
        for new_args, new_kwargs in reference_inputs(self.recorded, call, args, kwargs):
            own, casts = run_alone(again, new_args, new_kwargs)
            call.short = call.short or casts
            local = self._output(call, own) if own else None
            if local and (call.local is None or local.relative < call.local.relative):
                call.local, call.own = local, own
                call.replay = replay_of(again, new_args, new_kwargs)
        if call.local and call.output and call.local.relative > PASSED_ON * call.output.relative:
            call.local = call.output  # by itself it behaved differently: in the run it was closer than that allows
        rounds = bool(call.own) and (call.inputs is not None or not call.leaf) and all(map(is_half, call.own))
        call.short = rounds or call.short or any(child.short for child in call.children)

    def _without_known_errors(self, call: Call, again: Callable) -> Callable:
        """``again`` with the reference's results for the modules inside that are waived or as wrong as their waivers
        allow.
        """
        inside = [one for child in call.children for one in child.walk()]
        times = Counter(one.path for one in inside)
        waived = {id(one) for one in inside if self._is_waived(one)}
        found = [
            (one, self._result_of(one))
            for one in inside
            if times[one.path] == 1 and one.own and (one.rough or id(one) in waived)
        ]
        known = [(one, result) for one, result in found if result is not None]
        call.freed = bool(waived) and waived <= {id(one) for one, _ in known}
        return with_results(again, [(self._modules[one.path], result, one.local.relative) for one, result in known])

    def _is_rough(self, call: Call) -> bool:
        """Whether a call is right, but rounding moves its result more than that of most modules."""
        if call.local is None or not LEAF < call.local.relative <= MOST_ROUGH:
            return False
        limit = self.limits.of_module(call)
        if call.local.relative <= limit or call.leaf:  # a leaf's limit does not follow its sensitivity
            return call.local.relative <= limit
        return call.local.relative <= self.limits.of_sensitive(call, sensitivity(call))

    def _is_waived(self, call: Call) -> bool:
        local = call.local
        return (
            local is not None
            and local.relative > self.limits.of_module(call)
            and bool(self._waived(call.path, local.relative))
        )

    def _result_of(self, call: Call) -> mx.array | None:
        """The reference's result of a call in the port's layout."""
        names = self.recorded.results(call.event)
        if len(call.own) != 1 or len(names) != 1 or self.recorded.recording.event(names[0]).stride > 1:
            return None
        reference = self.recorded.get(names[0])
        found = align(reference, call.own[0], channels_last=self.recorded.is_channels_last(names[0]))
        values = found[0].to_mlx(reference) if found else None
        return mx.array(values) if values is not None else None

    def _is_wrong(self, call: Call, limit: float = 0.0) -> bool:
        wrong = call.local is not None and call.local.relative > max(limit, SIGNIFICANT)
        return wrong and not self._waived(call.path, call.local.relative)

    def _judge_thinned(self, call: Call, args: tuple, kwargs: dict) -> None:
        """A thinned input cannot be inserted. If the port's equals the reference's, as far as known, it need not be.

        Only what the module adds to its input's error counts.
        """
        call.whole, names = False, self.recorded.inputs(call.event)
        given = [array for array in arrays((args, kwargs)) if mx.issubdtype(array.dtype, mx.floating)]
        found = [self.recorded.nearest(names, to_numpy(array), False, False) for array in given if array.size > FEW]
        gaps = [gap.relative for gap in found if gap is not None and gap.relative <= NEAR]
        if not gaps or len(gaps) < sum(gap is not None for gap in found) or call.output is None:
            return
        call.inputs = max(gaps)
        if call.inputs <= self.limits.of_output(call):
            added = max(0.0, call.output.relative - PASSED_ON * call.inputs)
            call.local = replace(call.output, relative=added)

    def _keep_given(self, call: Call, args: tuple, kwargs: dict) -> None:
        first = self._first_wrong.get(call.stage)
        around = any(child is first for child in call.children)
        if around or first is None and call.output and call.output.relative > self.limits.of_output(call):
            self._first_wrong[call.stage] = call
            call.given = [to_numpy(array) for array in arrays((args, kwargs))]

    def _output(self, call: Call, results: list[np.ndarray]) -> Distance | None:
        if call.root and is_denoiser(call.path):
            return self.run.transformer.distance(results)
        return self.recorded.outputs(call.event, results, call.root, repeats=call.path in self.pairing.named)

    def _known(self, call: Call) -> bool:
        """Whether a replay would show nothing new: the output is right, or enough wrong modules are known."""
        if call.output and call.output.relative <= self.limits.of_module(call) and self.limits.dtype == "float32":
            call.local = call.output
            return True
        call.wrong = any(self._is_wrong(child, self.limits.of_module(child)) or child.wrong for child in call.children)
        if call.root:
            return False  # a whole network's result for the reference's input shows whether the error is in it
        return call.wrong or self._guilty[call.stage] >= ENOUGH

    def _ids(self, call: Call, args: tuple, kwargs: dict) -> tuple[np.ndarray, np.ndarray] | None:
        """The reference's ids and the port's, for a text encoder and for a call that is given nothing else."""
        given, names = list(arrays((args, kwargs))), self.recorded.inputs(call.event)
        encoder = call.root and call.stage.startswith("text_encoder")
        if not encoder and (len(given), len(names)) != (1, 1):
            return None
        own = [to_numpy(array) for array in given if not mx.issubdtype(array.dtype, mx.floating)]
        known = [values for name in names if (values := self.recorded.get(name)).dtype.kind != "f"] if own else []
        if encoder:
            own, known = _tokens(own), _tokens(known)
        return (known[0].reshape(-1), own[0].reshape(-1)) if own and known else None


def _tokens(ids: list[np.ndarray]) -> list[np.ndarray]:
    return [one for one in ids if one.dtype.kind == "i" and one.size and one.max() > 1]  # the others are masks


def _is_scalar(array: mx.array) -> bool:
    return array.size <= FEW and mx.issubdtype(array.dtype, mx.floating)


def largest_angle(module, args: tuple, kwargs: dict, result) -> float:
    """The largest angle of a module without weights that returns sines and cosines of a timestep or of positions; else
    0.
    """
    given = [array for array in arrays((args, kwargs)) if array.size and array.dtype != mx.bool_]
    made = [array for array in arrays(result) if array.size]
    if not given or not made or module.parameters():
        return 0.0
    if all(array.size <= FEW for array in given):
        return TIMESTEP if len(made) == 1 and made[0].size > 8 * given[0].size else 0.0
    whole = all(bool(mx.all(array == mx.round(array))) for array in given)  # positions: no activation is given
    waves = whole and all(float(mx.abs(array).max()) <= 1.0 for array in made)
    return max(float(mx.abs(array).max()) for array in given) if waves else 0.0
