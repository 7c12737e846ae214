"""Run a reference's leaf with random numbers to find out whether a subclass computes the same as
torch's plain layer.
"""

from __future__ import annotations

import copy

_ROWS = 8  # rows of a table or a matrix; the others behave the same
_FACTORS = (1.0, 1e-3)  # small numbers show an eps
_JUDGED: dict[tuple, bool] = {}


def runs_plainly(module) -> bool:
    """Whether a module of a class that derives from one of torch's layers gives the same results as that layer."""
    from torch import nn

    cls = type(module)
    plain = next(base for base in cls.__mro__ if base.__module__.startswith("torch.nn"))
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if all(getattr(cls, name, None) is getattr(plain, name, None) for name in ("forward", "_conv_forward")):
        return True
    if isinstance(module, nn.modules.conv._ConvNd):
        return False
    key = (cls, *((name, tuple(value.shape)) for name, value in module.named_parameters()), *_scalars(module))
    if key not in _JUDGED:
        _JUDGED[key] = _agree(module, plain.forward)
    return _JUDGED[key]


def rms_eps(module) -> float | None:
    """The eps of a module that is an RMSNorm over its last axis with a plain weight; None for any other module."""
    import torch
    from torch.nn import functional

    weight = module._parameters.get("weight")
    if weight is None or weight.dim() != 1 or len(module._parameters) > 1 or any(True for _ in module.buffers()):
        return None
    if getattr(module, "eps", 0) is None:
        candidates = [torch.finfo(torch.float32).eps]
    else:
        candidates = [value for _, value in _scalars(module) if isinstance(value, float) and 0 < value < 0.1]
    for eps in dict.fromkeys(candidates):
        key = (type(module), tuple(weight.shape), eps, *_scalars(module))
        if key not in _JUDGED:
            formula = lambda copied, x, eps=eps: functional.rms_norm(x, copied.weight.shape, copied.weight, eps)  # noqa: E731
            _JUDGED[key] = _agree(module, formula)
        if _JUDGED[key]:
            return eps
    return None


def _scalars(module) -> tuple[tuple[str, object], ...]:
    return tuple((name, value) for name, value in vars(module).items() if type(value) in (int, float, bool, str))


def _agree(module, formula) -> bool:
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            copied = _with_random_arrays(module)
            for factor in _FACTORS:
                numbers = _numbers(copied, factor)
                ours, theirs = copied(numbers), formula(copied, numbers)
                if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * factor):
                    return False
    except Exception:  # noqa: BLE001 - what fails here is not the plain layer
        return False
    return True


def _with_random_arrays(module):
    # The same module with real arrays of random numbers, none of them near zero or one.
    import torch

    copied = copy.copy(module)
    copied._parameters = {
        name: None if value is None else torch.nn.Parameter(2 + torch.rand(_few_rows(module, value.shape)))
        for name, value in module._parameters.items()
    }
    return copied.eval()


def _few_rows(module, sizes) -> tuple[int, ...]:
    import torch

    many = isinstance(module, (torch.nn.Linear, torch.nn.Embedding))
    return (min(sizes[0], _ROWS), *sizes[1:]) if many else tuple(sizes)


def _numbers(copied, factor: float):
    import torch

    if isinstance(copied, torch.nn.Embedding):
        return torch.randint(0, len(copied.weight), (2, 3))
    if isinstance(copied, torch.nn.GroupNorm):
        return factor * torch.randn(2, copied.num_channels, 5)
    width = copied.in_features if isinstance(copied, torch.nn.Linear) else None
    if width is None:
        width = copied.normalized_shape[-1] if isinstance(copied, torch.nn.LayerNorm) else len(copied.weight)
    return factor * torch.randn(2, 3, width)
