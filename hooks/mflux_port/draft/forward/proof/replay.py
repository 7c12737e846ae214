"""Replays drafted classes against a recording, in a separate process: MLX can crash the interpreter on a wrong graph.

``python -m mflux_port.draft.forward.proof.replay FOLDER SECONDS``: reads ``recording.pt`` and the drafted package below
FOLDER, and prints one JSON object per group as it goes. It stops after SECONDS of CPU time.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import resource
import sys
import traceback
from pathlib import Path

from mflux_port.draft.forward.record.small_inputs import RUNS, at_path

FLOOR = 1e-5  # a smaller difference is float32 rounding
FACTOR = 8  # times the change of the reference's own output when its inputs change by one unit in the last place


def main(folder: Path, seconds: int) -> None:
    import torch

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    sys.path.insert(0, str(folder))
    kept = torch.load(folder / "recording.pt", weights_only=False)
    replay = Replay(kept["model"], kept["calls"], kept["signatures"], kept["top"])
    for group in kept["order"]:
        if group in kept["skipped"]:
            replay.bridge(group)
            continue
        print(json.dumps({"starts": group}), flush=True)
        result = replay.group(group)
        if result["kind"] != "verified":
            replay.bridge(group)
        print(json.dumps({"group": group, **result}), flush=True)


class Replay:
    """The drafted top class with the twin's weights. Groups that are not verified are bridged to torch."""

    def __init__(self, model, calls: dict, signatures: dict, top: tuple[str, str]):
        from mflux_port.draft.forward.proof.weights import load_weights

        self.reference, self.calls, self.signatures = model, calls, signatures
        module = importlib.import_module(top[0])
        self.port = getattr(module, top[1])()
        load_weights(self.port, model)
        self.shaken: dict[str, object] = {}

    def bridge(self, group: str) -> None:
        """From now on, use the reference's modules for a group."""
        from mflux_port.draft.forward.proof.bridge import bridge

        for path in self._paths(group):
            bridge(self.port, path, at_path(self.reference, path), self.signatures[group])

    def _paths(self, group: str) -> list[str]:
        from mflux_port.draft.forward.record.groups import group_of

        return [path for path, module in self.reference.named_modules() if path and group_of(module) == group]

    def group(self, group: str) -> dict:
        """Replay the recorded calls of a group. Returns the call that is nearest to its limit, as a dict."""
        import torch

        worst, limit = 0.0, FLOOR
        for number, call in enumerate(self.calls[group]):
            try:
                with torch.no_grad():
                    error, allowed = self._call(group, call)
            except Exception as error:  # noqa: BLE001 - any error is the outcome of a replay
                if call.run in RUNS and isinstance(error, NotImplementedError):
                    continue  # the changed numbers took a branch that no recorded run took
                return {"kind": "raises", "reason": _last_line(error), "calls": number}
            if not error / allowed < worst / limit:
                worst, limit = error, allowed
            if not error <= allowed:
                path = call.path or "the model"
                run = RUNS.get(call.run, f"in run {call.run + 1}")
                reason = f"{path}.{call.method} {run}: error {error:.1e}, limit {limit:.1e}"
                return {"kind": "differs", "error": error, "limit": limit, "reason": reason, "calls": number + 1}
        return {"kind": "verified", "error": worst, "limit": limit, "calls": len(self.calls[group])}

    def _call(self, group: str, call) -> tuple[float, float]:
        from mflux_port.draft.forward.proof.arrays import distance

        out, expected = self.outputs(group, call)
        error = distance(out, expected)
        limit = FLOOR if error <= FLOOR else max(FLOOR, FACTOR * self._movement(call, expected))
        return error, limit

    def outputs(self, group: str, call) -> tuple[object, object]:
        """The drafted class's result for a recorded call, and the reference's."""
        from mflux_port.draft.forward.proof.arrays import to_mlx

        mine = at_path(self.port, call.path)
        method = "__call__" if call.method == "forward" else call.method
        names, taken, _ = self.signatures[group][method]
        bound = dict(zip(names, call.args, strict=False)) | call.kwargs
        bound = {name: value for name, value in self._defaults(call).items() if name in _needed(mine, method)} | bound
        left_out = {name: None for name in taken if name in _needed(mine, method)}  # missing **keywords
        given = left_out | {name: to_mlx(value) for name, value in bound.items() if name in taken}
        out = mine(**given) if method == "__call__" else getattr(mine, method)(**given)
        return out, _unwrapped(call.output, out)

    def _defaults(self, call) -> dict:
        from mflux_port.draft.forward.record.sources import undecorated

        function = undecorated(getattr(type(at_path(self.reference, call.path)), call.method))
        parameters = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}

    def _movement(self, call, expected) -> float:
        """How far the reference's own output moves when its inputs move by one unit in the last place.

        If all inputs are integers, its parameters move instead, and the numbers themselves if it has none.
        """
        from mflux_port.draft.forward.proof.arrays import distance, has_floats, moved, with_floats
        from mflux_port.draft.forward.record.recorder import clone

        owner = at_path(self.reference, call.path)
        args, kwargs = clone(call.args), clone(call.kwargs)
        if not has_floats((args, kwargs)) and any(True for _ in getattr(owner, "parameters", list)()):
            owner = self._moved(call.path, owner)
        elif not has_floats((args, kwargs)):
            args, kwargs = with_floats(args), with_floats(kwargs)
        try:
            again = getattr(owner, call.method)(*moved(args), **moved(kwargs))
        except (RuntimeError, TypeError, IndexError):  # it takes integers only
            return 0.0
        gap = distance(_unwrapped(clone(again), expected), expected)
        return gap if gap < 1e-3 else 0.0

    def _moved(self, path: str, owner):
        from mflux_port.draft.forward.proof.arrays import moved

        if path not in self.shaken:
            self.shaken[path] = copy.deepcopy(owner)
            for parameter in self.shaken[path].parameters():
                parameter.copy_(moved(parameter))
        return self.shaken[path]


def _unwrapped(output, like):
    # The reference returns (output,) where a port returns the output.
    single = isinstance(output, (tuple, list)) and len(output) == 1
    return output[0] if single and not (isinstance(like, tuple) and len(like) == 1) else output


def _needed(module, method: str) -> set[str]:
    # Arguments for which a drafted method has no default.
    if not inspect.isroutine(getattr(type(module), method, None)):
        return set()
    parameters = inspect.signature(getattr(type(module), method)).parameters.values()
    return {one.name for one in parameters if one.default is inspect.Parameter.empty}


def _last_line(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}: {last.line}" if last.line else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] + (
        f" [{place}]" if type(error).__name__ != "NotImplementedError" else ""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
