"""Each group's first call again, with small numbers: only these show an eps or the form of an activation."""

from __future__ import annotations

from collections.abc import Callable

QUIET = -1  # the run number of such a call
_SCALE = 0.05


def quiet_call(model, call, clone: Callable):
    """(positional, keywords, output) of a module's call with small numbers, None if it takes no such numbers."""
    import torch

    owner = at_path(model, call.path)
    given = _scaled(clone(call.args)), _scaled(clone(call.kwargs))
    run = owner if call.method in ("forward", "__call__") else getattr(owner, call.method)
    try:
        with torch.no_grad():
            return *given, clone(run(*clone(given[0]), **clone(given[1])))
    except Exception:  # noqa: BLE001 - a call that the reference refuses is not recorded
        return None


def _scaled(value):
    import torch

    if isinstance(value, torch.Tensor):
        return value * _SCALE if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_scaled(part) for part in value)
    return {name: _scaled(part) for name, part in value.items()} if type(value) is dict else value


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
