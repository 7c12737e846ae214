"""Arrays that a module computes itself and that are recognized by their numbers: inverse frequencies and positions.

Such an array is written as its formula, even if the reference computes it in another way. ``<name>_dims`` is its size
in the port: twice its length for frequencies, its length for positions.
"""

from __future__ import annotations

_POWERS = "1.0 / {theta} ** (mx.arange(0, self.{name}_dims, 2, dtype=mx.float32) / self.{name}_dims)"
SIZE = "_dims"


def formula(name: str, arrays: list, thetas: list[float]) -> str | None:
    """The MLX source of an array that follows one known formula in all instances; None if it does not.

    ``thetas``: the numbers of the config that may be its base.
    """
    if all(_is_positions(array) for array in arrays):
        return f"mx.arange(self.{name}{SIZE})" + ("[None]" if arrays[0].ndim == 2 else "")
    for theta in dict.fromkeys(thetas):
        if all(_is_powers(array, theta) for array in arrays):
            return _POWERS.format(theta=repr(float(theta)), name=name)
    return None


def table_size(name: str, owner) -> int | None:
    """The size of a known table by the name ``<table>_dims``, None for another name."""
    import torch

    array = owner._buffers.get(name.removesuffix(SIZE)) if hasattr(owner, "_buffers") and name.endswith(SIZE) else None
    array = getattr(owner, name.removesuffix(SIZE), None) if array is None and name.endswith(SIZE) else array
    if not isinstance(array, torch.Tensor):
        return None
    return 2 * array.shape[-1] if array.is_floating_point() else array.shape[-1]


def numbers_of(config) -> list[float]:
    """Every number above 1 in a config, including those in nested dicts."""
    values = (
        config.values() if hasattr(config, "values") else vars(config).values() if hasattr(config, "__dict__") else ()
    )
    found = []
    for value in values:
        if type(value) in (int, float) and value > 1:
            found.append(value)
        elif isinstance(value, dict):
            found += numbers_of(value)
    return found


def _is_positions(array) -> bool:
    import torch

    flat = array.reshape(-1)
    whole = not array.is_floating_point() and array.ndim in (1, 2) and array.numel() == array.shape[-1] > 1
    return whole and bool(torch.equal(flat, torch.arange(len(flat), dtype=flat.dtype)))


def _is_powers(array, theta: float) -> bool:
    import torch

    if not array.is_floating_point() or array.ndim != 1 or len(array) < 2:
        return False
    size = 2 * len(array)
    wanted = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    return bool(torch.allclose(array.float(), wanted, rtol=1e-6, atol=0))
