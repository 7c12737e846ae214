"""Find mistakes that shapes alone do not show: a transpose that a square weight hides, or two swapped lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mflux_port.ledger.elements import scrambled
from mflux_port.ledger.expansion import Assignment

_PROBE = (2, 3, 5, 7, 11)  # all different, so that any order of the axes is visible


def wrong_order(module, assignments: list[Assignment]) -> Iterable[tuple[Assignment, str]]:
    """Weights whose transform puts the axes in an order that differs from MLX's.

    ``module`` maps each weight to its layer.
    """
    owners = dict(module.named_modules())
    judged: dict[tuple, str] = {}
    for assignment in assignments:
        if assignment.failure or not 2 <= len(assignment.before) <= 5:
            continue
        path, _, last = assignment.path.rpartition(".")
        owner = owners.get(path) if last == "weight" else None
        key = (type(owner), assignment.transform, assignment.before, assignment.shape)
        if key not in judged:
            judged[key] = _axes(owner, assignment)
        if judged[key]:
            yield assignment, f"{judged[key]} for {f'{type(owner).__name__} {path}' if owner else assignment.path}"


def _axes(owner, assignment: Assignment) -> str:
    from mlx import nn

    flipped = tuple(getattr(nn, name) for name in ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"))
    rank = len(assignment.before)
    if isinstance(owner, nn.Linear) and rank > len(assignment.shape) == 2:
        mixed = scrambled(assignment.transform, assignment.before, assignment.shape)
        return "the order of its elements must keep each output in its own row" if mixed else ""
    if rank != len(assignment.shape):
        return ""
    sizes = _PROBE[:rank]
    given = _probe(assignment.transform, sizes)
    if isinstance(owner, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        expected = (sizes[0], *sizes[2:], sizes[1])
    elif isinstance(owner, flipped):
        expected = (sizes[1], *sizes[2:], sizes[0])
    elif isinstance(owner, (nn.Linear, nn.Embedding)) or assignment.before == assignment.shape:
        # Where both orders fit the shape, the checkpoint's own order is the only evidence.
        expected = sizes
    else:
        return ""
    if given is None or given == expected:
        return ""
    return f"the order of its axes must become {[_PROBE.index(size) for size in expected]}"


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


def swapped(assignments: list[Assignment], shapes: dict[str, tuple[int, ...]]) -> Iterable[tuple[Assignment, str]]:
    """Assignments of one shape whose names fit each other's paths, in a cycle."""
    by_path = {assignment.path: assignment for assignment in assignments if assignment.path != assignment.source}
    places = {_short(path): path for path in shapes} if by_path else {}
    for assignment in by_path.values():
        step, seen = _namesake(assignment, places, shapes), {assignment.path}
        first = step
        while step is not None and step not in seen and step in by_path:
            seen.add(step)
            step = _namesake(by_path[step], places, shapes)
        if first is not None and step == assignment.path:
            yield assignment, f"it goes to {assignment.path}, and its name matches {first}"


def _namesake(assignment: Assignment, places: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> str | None:
    # The nearest parameter that the source's last names point to, if it differs from the assigned one.
    path, source = _short(assignment.path).split("."), _short(assignment.source).split(".")
    for count in range(2, min(len(path), len(source)) + 1):
        if path[-count:] == source[-count:]:
            continue
        place = places.get(".".join([*path[:-count], *source[-count:]]))
        if place not in (None, assignment.path) and shapes[place] == assignment.shape:
            return place
    place = places.get(".".join(source))
    return place if place not in (None, assignment.path) and shapes[place] == assignment.shape else None


def _short(name: str) -> str:
    # `to_out.0.weight` of torch's Sequential is often `to_out.weight` in a port.
    return re.sub(r"\.0(?=\.[^.]+$)", "", name)
