"""Mistakes that shapes alone do not show: a transpose that a square weight hides, two lines that changed places."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mflux_port.ledger.elements import scrambled
from mflux_port.ledger.expansion import Assignment

_PROBE = (2, 3, 5, 7, 11)  # all different, so that every order of the axes can be told


def wrong_order(module, fills: list[Assignment]) -> Iterable[tuple[Assignment, str]]:
    """Weights whose transform does not put the axes where MLX has them. ``module`` says what layer each belongs to."""
    owners = dict(module.named_modules())
    judged: dict[tuple, str] = {}
    for fill in fills:
        if fill.failure or not 2 <= len(fill.before) <= 5:
            continue
        path, _, last = fill.path.rpartition(".")
        owner = owners.get(path) if last == "weight" else None
        key = (type(owner), fill.transform, fill.before, fill.shape)
        if key not in judged:
            judged[key] = _axes(owner, fill)
        if judged[key]:
            yield fill, f"{judged[key]} for {f'{type(owner).__name__} {path}' if owner else fill.path}"


def _axes(owner, fill: Assignment) -> str:
    from mlx import nn

    flipped = tuple(getattr(nn, name) for name in ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"))
    rank = len(fill.before)
    if isinstance(owner, nn.Linear) and rank > len(fill.shape) == 2:
        mixed = scrambled(fill.transform, fill.before, fill.shape)
        return "the order of its numbers must keep each output in a row of its own" if mixed else ""
    if rank != len(fill.shape):
        return ""
    sizes = _PROBE[:rank]
    given = _probe(fill.transform, sizes)
    if isinstance(owner, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        wanted = (sizes[0], *sizes[2:], sizes[1])
    elif isinstance(owner, flipped):
        wanted = (sizes[1], *sizes[2:], sizes[0])
    elif isinstance(owner, (nn.Linear, nn.Embedding)) or fill.before == fill.shape:
        # Where the shape fits both ways, nothing but the checkpoint's own order is known.
        wanted = sizes
    else:
        return ""
    if given is None or given == wanted:
        return ""
    return f"the order of its axes must become {[_PROBE.index(size) for size in wanted]}"


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


def swapped(fills: list[Assignment], shapes: dict[str, tuple[int, ...]]) -> Iterable[tuple[Assignment, str]]:
    """Fills of which each bears the name of another's place, in a circle, all of one shape."""
    by_path = {fill.path: fill for fill in fills if fill.path != fill.source}
    places = {_short(path): path for path in shapes} if by_path else {}
    for fill in by_path.values():
        step, seen = _namesake(fill, places, shapes), {fill.path}
        first = step
        while step is not None and step not in seen and step in by_path:
            seen.add(step)
            step = _namesake(by_path[step], places, shapes)
        if first is not None and step == fill.path:
            yield fill, f"it fills {fill.path} and bears the name of {first}"


def _namesake(fill: Assignment, places: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> str | None:
    # The nearest parameter that the source's last names point to, when it is not the one that is filled.
    path, source = _short(fill.path).split("."), _short(fill.source).split(".")
    for count in range(2, min(len(path), len(source)) + 1):
        if path[-count:] == source[-count:]:
            continue
        place = places.get(".".join([*path[:-count], *source[-count:]]))
        if place not in (None, fill.path) and shapes[place] == fill.shape:
            return place
    place = places.get(".".join(source))
    return place if place not in (None, fill.path) and shapes[place] == fill.shape else None


def _short(name: str) -> str:
    # `to_out.0.weight` of torch's Sequential is often `to_out.weight` in a port.
    return re.sub(r"\.0(?=\.[^.]+$)", "", name)
