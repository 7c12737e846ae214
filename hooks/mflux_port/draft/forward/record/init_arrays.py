"""Arrays that a module creates when it is built and that no checkpoint holds: rotary tables, frequencies, positions.

Their ``__init__`` is recorded while the twin is built again, and only what such an array needs is written.
"""

from __future__ import annotations

import contextlib
import sys

from mflux_port.draft.forward.record.sources import key_of

PREFIX = "init "  # prefix of the group under which an __init__ is recorded


def initial_group(cls: type) -> str:
    """The group of a class's ``__init__``: while it runs, the module has no children yet that show its build."""
    return f"{PREFIX}{cls.__module__}.{cls.__qualname__}"


def tables(module) -> set[str]:
    """The names of arrays that a module holds but its state does not: a port creates them."""
    import torch

    stored = {name for name in module._buffers if name not in module._non_persistent_buffers_set}
    pairs = [*vars(module).items(), *module._buffers.items()]
    return {name for name, value in pairs if name not in stored and _holds_arrays(value, torch.Tensor)}


def initial_keys(model) -> set[str]:
    """The ``__init__`` functions of a model's classes that create such arrays."""
    return {key_of(type(module).__init__) for module in model.modules() if tables(module)}


@contextlib.contextmanager
def arguments_kept():
    """Inside this context, each module keeps the plain arguments of its ``__init__`` as ``_arguments``."""
    from torch import nn

    def profile(frame, event, _):
        owner = frame.f_locals.get("self") if event == "call" and frame.f_code.co_name == "__init__" else None
        if isinstance(owner, nn.Module) and "_arguments" not in vars(owner) and frame.f_code.co_argcount > 1:
            given = frame.f_locals
            config = getattr(given.get("config"), "__dict__", {})
            kept = {name: value for name, value in (*config.items(), *given.items()) if _is_plain(value)}
            owner.__dict__["_arguments"] = kept

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def _holds_arrays(value, kind: type) -> bool:
    if isinstance(value, kind):
        return True
    values = value.values() if type(value) is dict else value if isinstance(value, (list, tuple)) else ()
    return any(_holds_arrays(part, kind) for part in values)


def _is_plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, bool, str)
