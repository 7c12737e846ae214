"""Measure times: the compared actions take turns within one run, and the median of their times counts."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ROUNDS = 7
# Unset these, so that Python compiles a module once and keeps the result, as it does by default.
BYTECODE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


@dataclass(frozen=True)
class Row:
    """One figure. ``value`` in ``unit``; ``limit`` is the highest value allowed, None without a limit."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        return self.limit is None or self.value <= self.limit


@dataclass(frozen=True)
class Action:
    """The timed action, and its preparation before each run."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        self.prepare()
        start = clock()
        self.run()
        return clock() - start


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silences the code inside, and the processes that it starts."""
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "wb") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        for number, file in enumerate(kept, 1):
            os.dup2(file, number)
            os.close(file)


def medians(
    actions: dict[str, Action], rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median time of each action by a clock, in seconds. Each runs once to warm up, then all take turns."""
    for action in actions.values():
        action.seconds()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(action.seconds(clock))
    return {name: statistics.median(taken) for name, taken in times.items()}


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | figure | limit |", "|---|---:|---:|"]
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:g} {row.unit}"
        mark = "" if row.kept else " (over)"
        lines.append(f"| {row.name} | {row.value:.3g} {row.unit}{mark} | {limit} |")
    return "\n".join(lines)
