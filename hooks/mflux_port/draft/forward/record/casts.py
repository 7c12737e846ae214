"""Casts of the reference that change nothing: the type stays the same, in float32 and in bfloat16.

The model runs again in bfloat16, with timesteps and other rows of numbers in float32, as pipelines may give them.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from mflux_port.draft.forward.record.recorder import Recording, record

CASTS = ("to", "type_as", "float")
_RUNS = 3

Cast = tuple[str, str, int]  # function, group, number of the node


def idle_casts(recording: Recording, runs: list[tuple[str, dict]]) -> set[Cast]:
    """The casts that change no type, neither in a recording nor in a second one in bfloat16."""
    import torch

    model = copy.deepcopy(recording.root).to(torch.bfloat16)
    try:
        small = record(model, [(method, _halved(inputs)) for method, inputs in runs[:_RUNS]])
    except Exception:  # noqa: BLE001 - a reference that does not run in bfloat16 keeps its casts
        return set()
    return set(_idle(recording)) & set(_idle(small))


def _halved(inputs: dict):
    import torch

    def half(value):
        if isinstance(value, torch.Tensor):
            return value.bfloat16() if value.dtype == torch.float32 and value.ndim > 1 else value
        return type(value)(map(half, value)) if type(value) in (list, tuple) else value

    return {name: half(value) for name, value in inputs.items()}


def _idle(recording: Recording) -> Iterator[Cast]:
    for (key, group), facts in recording.facts.items():
        for node in ast.walk(recording.sources[key].tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CASTS):
                continue
            before, after = facts.get(node.func.value.number), facts.get(node.number)
            if before is None or after is None or not before.always("tensor"):
                continue
            if len(before.dtypes) == 1 and before.dtypes == after.dtypes:
                yield key, group, node.number
