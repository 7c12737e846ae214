"""Replace a module that is not verified with the reference's, so that the code around it can be replayed."""

from __future__ import annotations

import inspect


class Bridge:
    """Is called like the drafted module, and runs the reference's.

    ``signatures``: for each method, torch's parameters, those that it takes, and those of complex arrays.
    """

    def __init__(self, module, signatures: dict[str, tuple[list[str], list[str], list[str]]]):
        self.module, self.signatures = module, signatures

    def __call__(self, *args, **kwargs):
        return self._run("forward", self.signatures.get("__call__"), args, kwargs)

    def __getattr__(self, name: str):
        if name in self.__dict__.get("signatures", {}):
            return lambda *args, **kwargs: self._run(name, self.signatures[name], args, kwargs)
        from mflux_port.draft.forward.proof.arrays import to_mlx

        return to_mlx(getattr(self.__dict__["module"], name))

    def _run(self, method: str, names, args: tuple, kwargs: dict):
        from mflux_port.draft.forward.proof.arrays import to_mlx, to_torch
        from mflux_port.draft.forward.record.recorder import clone

        taken = names[1] if names else []
        given = to_torch(dict(zip(taken, args, strict=False)) | kwargs)
        for name in names[2] if names else ():
            given[name] = _complex(given.get(name))
        function = getattr(self.module, method)
        needed = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
        left_out = {
            one.name: None for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD
        }  # always None in the runs
        return to_mlx(clone(function(**left_out | given)))


def _complex(value):
    # Arrays of pairs as the complex arrays that the reference takes.
    import torch

    if isinstance(value, torch.Tensor):
        return torch.view_as_complex(value.contiguous())
    return type(value)(_complex(part) for part in value) if isinstance(value, (list, tuple)) else value


def bridge(port, path: str, module, signatures: dict) -> None:
    """Put a bridge at ``path`` of a port."""
    *parents, name = path.split(".")
    for part in parents:
        if isinstance(port, Bridge):
            return  # its parent is already the reference's
        port = port[int(part)] if isinstance(port, list) else port[part] if part in port else getattr(port, part)
    if isinstance(port, list):
        port[int(name)] = Bridge(module, signatures)
    elif not isinstance(port, Bridge):
        dict.pop(port, name, None)
        object.__setattr__(port, name, Bridge(module, signatures))
