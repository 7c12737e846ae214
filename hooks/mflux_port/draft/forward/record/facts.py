"""What the recorded runs showed about one expression."""

from __future__ import annotations

import types
from dataclasses import dataclass, field

LIMIT = 24  # the most values and shapes that are kept for one expression
SCALARS = ("bool", "int", "float", "str", "none")
SEQUENCES = ("tuple", "list", "size")
MANY = object()


@dataclass(slots=True)
class Fact:
    """Everything that was recorded about an expression in one group.

    ``values``: the scalars, as (kind, value); ``many``: there were more than are kept. ``ranks``, ``dtypes`` (of
    elements too) and ``shapes`` are those of tensors, ``lengths`` and ``elements`` (kinds) those of containers,
    ``keys`` those of dicts. ``objects``: modules, functions and other objects, by id. ``truths``: its truth values as a
    test. ``items``: of a dict. ``is_numpy``: a numpy array, which otherwise counts as a tensor. ``hides_rows``: a mask
    with rows that are all false.
    """

    kinds: set[str] = field(default_factory=set)
    values: set = field(default_factory=set)
    many: bool = False
    ranks: set[int] = field(default_factory=set)
    dtypes: set[str] = field(default_factory=set)
    shapes: set[tuple] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)
    keys: set[tuple] = field(default_factory=set)
    elements: set[str] = field(default_factory=set)
    objects: dict[int, object] = field(default_factory=dict)
    truths: set[bool] = field(default_factory=set)
    items: dict[str, Fact] = field(default_factory=dict)
    is_numpy: bool = False
    hides_rows: bool = False

    def add(self, value) -> None:
        if is_numpy(value):
            self.is_numpy, value = True, as_tensor(value)
        kind = kind_of(value)
        self.kinds.add(kind)
        self.truths |= _truth(value, kind)
        if kind == "tensor":
            self.ranks.add(value.dim())
            self.dtypes.add(str(value.dtype).removeprefix("torch."))
            self._keep(self.shapes, tuple(value.shape))
            self.hides_rows |= _hides_rows(value)
        elif kind in SCALARS:
            self._keep(self.values, (kind, value))
        elif kind in ("dtype", "device"):
            self._keep(self.values, (kind, str(value)))
        elif kind in SEQUENCES:
            self.lengths.add(len(value))
            self.elements |= {kind_of(part) for part in value[:16]}
            self.dtypes |= {str(part.dtype)[6:] for part in value[:16] if kind_of(part) == "tensor"}
            if all(kind_of(part) in SCALARS for part in value):
                self._keep(self.values, (kind, tuple(value)))
            else:
                self.many = True
        elif kind == "dict":
            self.lengths.add(len(value))
            self.keys.add(tuple(map(str, value)))
            self.elements |= {kind_of(part) for part in list(value.values())[:16]}
            for name, part in value.items():
                self.items.setdefault(str(name), Fact()).add(part)
        else:
            self.objects.setdefault(id(value), value)

    def _keep(self, seen: set, entry) -> None:
        if len(seen) < LIMIT:
            seen.add(entry)
        elif entry not in seen:
            self.many = True

    @property
    def only(self) -> object:
        """The only scalar (or tuple of scalars) that was seen, else ``MANY``."""
        one = len(self.values) == 1 and len(self.kinds) == 1 and not self.many
        return next(iter(self.values))[1] if one else MANY

    def always(self, *kinds: str) -> bool:
        """Whether only these kinds were seen."""
        return bool(self.kinds) and self.kinds <= set(kinds)

    @property
    def rank(self) -> int | None:
        """The rank that all tensors had, else None."""
        return next(iter(self.ranks)) if len(self.ranks) == 1 and self.always("tensor") else None


def _hides_rows(value) -> bool:
    return str(value.dtype) == "torch.bool" and value.dim() > 2 and not bool(value.any(-1).all())


def is_numpy(value) -> bool:
    """Whether a value is a numpy array of numbers, or one numpy number."""
    import numpy as np

    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf"


def as_tensor(value):
    """A numpy array as a tensor, a numpy number as a Python number."""
    import torch

    return torch.from_numpy(value.copy()) if value.ndim else value.item()


def _truth(value, kind: str) -> set[bool]:
    if kind == "tensor":
        return {bool(value)} if value.numel() == 1 else set()
    if kind in (*SCALARS, *SEQUENCES, "dict"):
        return {bool(value)}
    return {True}


def kind_of(value) -> str:
    """The kind of a value: ``tensor``, ``none``, ``int``, ``module``, ``function``, ``type``, ``object`` and so on."""
    import torch
    from torch import nn

    if isinstance(value, torch.Tensor):
        return "tensor"
    if value is None:
        return "none"
    table = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"), (torch.dtype, "dtype"),
             (torch.device, "device"), (nn.ModuleList, "modulelist"), (nn.ModuleDict, "moduledict"),
             (nn.Module, "module"), (torch.Size, "size"), (tuple, "tuple"), (list, "list"), (dict, "dict"),
             (type, "type"))  # fmt: skip
    for cls, kind in table:
        if isinstance(value, cls):
            return kind
    functions = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodDescriptorType)
    wrapped = type(value).__name__ in (
        "builtin_function_or_method",
        "method-wrapper",
        "_lru_cache_wrapper",
        "OpOverload",
    )
    return "function" if isinstance(value, functions) or wrapped else "object"
