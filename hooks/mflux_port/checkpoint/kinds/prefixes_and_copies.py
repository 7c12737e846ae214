"""The names that a checkpoint gives its tensors: wrappers around the model, and copies of it in the same file.

Training code wraps a model (``module.``, ``_orig_mod.``) or stores it under a prefix (``model.diffusion_model.``); a
port has neither. Some files hold an averaged copy (EMA) next to the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mflux_port.checkpoint.headers import Tensor

# Parts that torch.compile, FSDP, activation checkpointing and DeepSpeed insert into names.
_INSERTED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module")
# Prefixes that training code and all-in-one files put before every name.
_WRAPPERS = (
    "module", "model.diffusion_model", "diffusion_model", "first_stage_model", "cond_stage_model", "net", "_model",
    "model.module", "model.model", "pipe.dit", "state_dict", "network",
)  # fmt: skip
# Prefixes of one half of a model. They are kept, because the other half has another prefix.
_HALVES = ("encoder", "decoder")
_AVERAGED = re.compile(r"(^|_)(ema|averaged?|avg|shadow|teacher|target|swa|momentum)(_|\d|$)")
_FLAT = "model_ema."  # Stable Diffusion's own files store the averages under names without dots


def unwrapped(names: Iterable[str], known: Iterable[str] = (), any_prefix: bool = True) -> dict[str, str]:
    """The name of every tensor without wrappers, by the name in the file.

    ``known``: the reference's names for its tensors; empty if there is no reference. A prefix that all names
    share is a wrapper when the reference does not have it, or, without a reference, when a whole model follows and
    ``any_prefix`` allows it.
    """
    found = {name: _without_inserted(name) for name in names}
    if len(set(found.values())) != len(found):
        found = {name: name for name in found}  # both with and without the wrapper: two copies
    prefix = _wrapper(list(found.values()), set(known), any_prefix)
    return {name: plain[len(prefix) :] for name, plain in found.items()}


def _without_inserted(name: str) -> str:
    if not any(part in name for part in _INSERTED):
        return name
    return ".".join(part for part in name.split(".") if part not in _INSERTED)


def _wrapper(names: list[str], known: set[str], any_prefix: bool) -> str:
    prefix = common_prefix(names)
    if not prefix or not any("." in name[len(prefix) :] for name in names):
        return ""
    named = prefix.rstrip(".") in _WRAPPERS
    if known:
        more = sum(name[len(prefix) :] in known for name in names) > sum(name in known for name in names)
        return prefix if more and (named or any_prefix) else ""
    while prefix and prefix.rstrip(".").rpartition(".")[2] in _HALVES:
        prefix = f"{prefix.rstrip('.').rpartition('.')[0]}.".lstrip(".")
        named = prefix.rstrip(".") in _WRAPPERS
    whole_model = any(re.search(r"(^|\.)\d+\.", name[len(prefix) :]) for name in names)
    return prefix if named or any_prefix and whole_model else ""


def common_prefix(names: list[str]) -> str:
    """The path of modules that all names share, with a dot at the end. The path never ends in a list."""
    if not names:
        return ""
    first, last = min(names).split("."), max(names).split(".")
    count = 0
    while count < min(len(first), len(last)) - 1 and first[count] == last[count]:
        count += 1
    while count and any(name.split(".", count)[count][:1].isdigit() for name in (min(names), max(names))):
        count -= 1
    return ".".join(first[:count]) + "." if count else ""


def is_averaged(name: str) -> bool:
    """Whether a tensor's name has a part that means averaged weights."""
    return any(_AVERAGED.search(part) for part in name.split(".")[:2])


def is_flat_copy(name: str) -> bool:
    """Whether a name is one of those that Stable Diffusion's own files give to averaged weights."""
    return name.startswith(_FLAT) and "." not in name[len(_FLAT) :]


def averaged_copies(tensors: Mapping[str, Tensor]) -> tuple[list[str], str]:
    """The names of an averaged copy of the other weights, and its prefix; both empty when there is none.

    A copy has a name that means averaged weights, and the rest of the file has all of its tensors with the same shapes.
    """
    flat = [name for name in tensors if is_flat_copy(name)]
    if flat and len(flat) < len(tensors) and not all(name.startswith(_FLAT) for name in tensors):
        return flat, _FLAT
    for depth in (1, 2):
        groups: dict[str, list[str]] = {}
        for name in tensors:
            parts = name.split(".")
            if len(parts) > depth:
                groups.setdefault(".".join(parts[:depth]) + ".", []).append(name)
        for prefix, members in groups.items():
            if _AVERAGED.search(prefix.rstrip(".").rpartition(".")[2]) and _is_copy(prefix, members, tensors):
                return members, prefix
    return _copies_by_ending(tensors)


def _is_copy(prefix: str, members: list[str], tensors: Mapping[str, Tensor]) -> bool:
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    if not any("." in name[len(prefix) :] for name in members):
        return False  # a single layer is not a model
    shapes = {name: tensor.shape for name, tensor in rest.items()}
    # The other copy has the same names, or has them below another prefix.
    for other in ("", common_prefix(list(rest)), *sorted({name.partition(".")[0] + "." for name in rest})):
        found = sum(shapes.get(other + name[len(prefix) :]) == tensors[name].shape for name in members)
        if found and found >= 0.9 * len(members):
            return True
    return False


def _copies_by_ending(tensors: Mapping[str, Tensor]) -> tuple[list[str], str]:
    # The averaged copy of `weight` is called `weight_ema`.
    found = []
    for name, tensor in tensors.items():
        plain = re.sub(r"[._]ema$", "", name)
        if plain != name and plain in tensors and tensors[plain].shape == tensor.shape:
            found.append(name)
    return found, "*_ema" if found else ""
