"""Repeat each group's first call with other numbers: small ones show an eps or the form of an activation, large ones
the base of frequencies.
"""

from __future__ import annotations

from collections.abc import Callable

QUIET, LOUD = -1, -2  # the run numbers of such calls
RUNS = {QUIET: "with small numbers", LOUD: "with large numbers"}
_SMALL = 0.05  # the factor for small numbers
_LARGE = 256.0  # the largest number: cosines of much larger ones consist mostly of rounding


def scaled_calls(model, call, clone: Callable):
    """(run, positional, keywords, output) of a module's call with small numbers, and with large ones if it has no
    weights.

    Calls are left out if the reference refuses them, or if their result depends on the last digit of large numbers.
    """
    owner = at_path(model, call.path)
    factors = {QUIET: _SMALL}
    has_weights = not hasattr(owner, "parameters") or any(True for _ in owner.parameters())
    largest = _largest((call.args, call.kwargs))
    if not has_weights and 0 < largest < _LARGE / 2:
        factors[LOUD] = _LARGE / largest
    for run, factor in factors.items():
        made = _scaled_call(owner, call, clone, factor)
        if made is not None and (run != LOUD or _is_steady(owner, call.method, made, clone)):
            yield run, *made


def _is_steady(owner, method: str, made: tuple, clone: Callable) -> bool:
    import torch

    from mflux_port.draft.forward.proof.arrays import is_steady

    with torch.no_grad():
        return is_steady(getattr(owner, method), *made, clone)


def _largest(value) -> float:
    import torch

    if isinstance(value, torch.Tensor):
        return float(value.abs().max()) if value.is_floating_point() and value.numel() else 0.0
    parts = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return max((_largest(part) for part in parts), default=0.0)


def _scaled_call(owner, call, clone: Callable, factor: float):
    import torch

    given = _scaled(clone(call.args), factor), _scaled(clone(call.kwargs), factor)
    run = owner if call.method in ("forward", "__call__") else getattr(owner, call.method)
    try:
        with torch.no_grad():
            return *given, clone(run(*clone(given[0]), **clone(given[1])))
    except Exception:  # noqa: BLE001 - a call that the reference refuses is not recorded
        return None


def _scaled(value, factor: float):
    import torch

    if isinstance(value, torch.Tensor):
        return value * factor if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_scaled(part, factor) for part in value)
    return {name: _scaled(part, factor) for name, part in value.items()} if type(value) is dict else value


def at_path(owner, path: str):
    """The module, object or list element at a dotted path."""
    for name in path.split(".") if path else ():
        if isinstance(owner, (list, tuple)):
            owner = owner[int(name)]
        elif isinstance(owner, dict) and name in owner:
            owner = owner[name]
        else:
            owner = getattr(owner, name)
    return owner
