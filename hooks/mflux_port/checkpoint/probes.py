"""Mistakes that shapes alone do not show: a transpose that a square weight hides, two lines that changed places."""

from __future__ import annotations

from collections.abc import Iterable

from mflux_port.checkpoint.fills import Fill

_PROBE = (2, 3, 5, 7, 11)  # all different, so that every order of the axes can be told


def wrong_order(module, fills: list[Fill]) -> Iterable[tuple[Fill, str]]:
    """Weights of linear and convolution layers whose transform does not put the axes where MLX has them."""
    from mlx import nn

    owners = dict(module.named_modules())
    flipped = tuple(getattr(nn, name) for name in ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"))
    straight = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for fill in fills:
        path, _, last = fill.path.rpartition(".")
        owner = owners.get(path)
        rank = len(fill.before)
        if last != "weight" or owner is None or fill.failure or rank != len(fill.shape) or not 2 <= rank <= 5:
            continue
        sizes = _PROBE[:rank]
        given = _probe(fill.transform, sizes)
        if isinstance(owner, straight):
            wanted = (sizes[0], *sizes[2:], sizes[1])
        elif isinstance(owner, flipped):
            wanted = (sizes[1], *sizes[2:], sizes[0])
        elif isinstance(owner, nn.Linear):
            wanted = sizes
        else:
            continue
        if given is not None and given != wanted:
            names = [_PROBE.index(size) for size in wanted]
            yield fill, f"the order of its axes must become {names} for {type(owner).__name__} {path}"


def _probe(transform, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    import mlx.core as mx

    if transform is None:
        return sizes
    try:
        shape = tuple(transform(mx.zeros(sizes)).shape)
    except Exception:  # noqa: BLE001 - a transform made for one size says nothing here
        return None
    # A slice of a fused weight is smaller: only an order of the same axes can be judged.
    return shape if sorted(shape) == sorted(sizes) else None


def crossed(fills: list[Fill], shapes: dict[str, tuple[int, ...]]) -> Iterable[tuple[Fill, str]]:
    """Fills of which each bears the name of another's place, in a circle, all of one shape."""
    by_path = {fill.path: fill for fill in fills}
    for fill in by_path.values():
        step, seen = _namesake(fill, shapes), {fill.path}
        first = step
        while step is not None and step not in seen and step in by_path:
            seen.add(step)
            step = _namesake(by_path[step], shapes)
        if first is not None and step == fill.path:
            yield fill, f"it fills {fill.path} and bears the name of {first}"


def _namesake(fill: Fill, shapes: dict[str, tuple[int, ...]]) -> str | None:
    # The nearest parameter that the source's last names point to, when it is not the one that is filled.
    path, source = fill.path.split("."), fill.source.split(".")
    for count in range(2, min(len(path), len(source)) + 1):
        if path[-count:] == source[-count:]:
            continue
        name = ".".join([*path[:-count], *source[-count:]])
        if name != fill.path and shapes.get(name) == fill.shape:
            return name
    return None
