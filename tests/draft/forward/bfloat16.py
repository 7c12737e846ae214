"""Measures drafted forward passes in bfloat16: their error next to that of the reference, both against float32.

``python bfloat16.py FAMILY…`` (needs torch and MLX): prints a JSON object for each family. An error is the root mean
square of the difference from the reference in float32, with the same weights and inputs. ``whole``: the error of the
last
class, which is the model itself.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drafted_twin import DraftedTwin, drafted_twin, short  # noqa: E402

_FLOOR = 1e-4  # far below bfloat16's rounding


def ratios(twin: DraftedTwin) -> list[tuple[str, float, float]]:
    """(class, error of the port, error of the reference) of every proven class, for the worst of its calls."""
    import torch
    from mflux_port.draft.forward.record.recorder import calls_of

    small = copy.deepcopy(twin.model).to(torch.bfloat16)
    exact = copy.deepcopy(twin.model)  # its tables are those of float32, its parameters those of bfloat16
    for one, other in zip(exact.parameters(), small.parameters(), strict=True):
        one.data.copy_(other.data)
    calls = calls_of(copy.deepcopy(small), [(method, _as(inputs, torch.bfloat16)) for method, inputs in twin.runs])
    twin.model = small
    replay = twin.replay(calls)
    found = []
    for group in twin.proven:
        errors = [_errors(replay, exact, group, call) for call in calls.get(group, ())]
        if errors:
            found.append((short(group), *max(errors, key=lambda one: one[0] / max(one[1], 1e-9))))
    return found


def _errors(replay, exact, group: str, call) -> tuple[float, float]:
    import torch
    from mflux_port.draft.forward.proof.replay import _unwrapped
    from mflux_port.draft.forward.record.recorder import clone
    from mflux_port.draft.forward.record.small_inputs import at_path

    with torch.no_grad():
        out, theirs = replay.outputs(group, call)
        args, kwargs = _as(clone(call.args), torch.float32), _as(clone(call.kwargs), torch.float32)
        true = _unwrapped(clone(getattr(at_path(exact, call.path), call.method)(*args, **kwargs)), out)
    return _gap(out, true), _gap(theirs, true)


def _gap(value, true) -> float:
    import numpy as np
    from mflux_port.draft.forward.proof.arrays import _flat, _numbers

    pairs = zip(_flat(value), _flat(true), strict=True)
    gaps = [(_numbers(one) - _numbers(other)).reshape(-1) for one, other in pairs]
    scale = np.concatenate([_numbers(other).reshape(-1) for other in _flat(true)])
    return float(np.sqrt(np.mean(np.concatenate(gaps) ** 2)) / max(np.sqrt(np.mean(scale**2)), 1e-9))


def _as(value, dtype):
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_as(part, dtype) for part in value)
    return {name: _as(part, dtype) for name, part in value.items()} if type(value) is dict else value


def main(names: list[str]) -> None:
    for name in names:
        found = ratios(drafted_twin(name))
        over = [
            f"{cls}: {mine:.2e}, reference {theirs:.2e}"
            for cls, mine, theirs in found
            if mine > max(_FLOOR, 1.5 * theirs)
        ]
        whole = found[-1]
        told = {"name": name, "classes": len(found), "whole": round(whole[1] / whole[2], 3), "over": over}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
