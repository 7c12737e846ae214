"""Merge equal findings in many blocks into one, which lists those blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])|(?<=\.)\d+(?=\.|$)|#\d+")
FIGURE = re.compile(r"-?\d[\d.]*(e[+-]?\d+)?")
MOST = 3  # the cause is determined for this many findings per kind of module; the others get the first one's


def kind_of(path: str) -> str:
    """A module's path without the numbers of its blocks."""
    return NUMBER.sub("#", path)


def grouped(verdicts: Iterable) -> list:
    """The verdicts, with equal ones merged into the first; its ``places`` has the numbers of all blocks."""
    groups: dict[tuple, list] = {}
    for verdict in verdicts:
        cause = FIGURE.sub("#", kind_of(verdict.cause))
        groups.setdefault((verdict.kind, kind_of(verdict.module), cause, verdict.waived), []).append(verdict)
    return [_joined(group) for group in groups.values()]


def _joined(group: list):
    first = group[0]
    paths = dict.fromkeys(verdict.module for verdict in group)
    if len(paths) < 2:
        return first
    return replace(first, places=places(list(paths)))


def places(paths: list[str]) -> str:
    """``layers 1-5, 8-34``: the blocks that modules of one kind are in; a count if several numbers differ."""
    numbers = [NUMBER.findall(path) for path in paths]
    differing = [n for n, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    if len(differing) != 1:
        return f"{len(paths)} modules, the last {paths[-1]}"
    at = differing[0]
    match = list(NUMBER.finditer(paths[0]))[at]
    name = paths[0][: match.start()].rstrip(".").rpartition(".")[2] or "calls"
    return f"{name} {ranges(sorted(int(values[at].lstrip('#')) for values in numbers))}"


def ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 5]`` as ``1-3, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{start}-{end}" if end > start else str(start) for start, end in runs)
