"""One call of one module of the port, and its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from parity.metrics import Distance


@dataclass
class Call:
    """One call of one module. ``output`` is its error as it ran, ``local`` its error on the reference's input.

    ``whole`` says that all of its input could be replaced. ``children`` are the calls inside it, in order.
    """

    stage: str
    path: str
    reference: str
    order: int
    children: list[Call] = field(default_factory=list)
    inputs: float | None = None
    replaced: float = 0.0  # of a whole network: how far its arguments are from those that it was judged with
    output: Distance | None = None
    local: Distance | None = None
    whole: bool = True
    wrong: bool = False  # something inside it is wrong
    angle: float = 0.0  # the largest angle whose sine and cosine it computes; 0 when it computes none
    rough: bool = False  # it is right, but rounding moves its result more than that of most modules
    freed: bool = False  # the waived modules inside it returned the reference's results when it was judged
    short: bool = False  # it, or a module inside it, always returns bfloat16
    event: str = ""
    size: int = 0  # size of its result
    own: list[np.ndarray] = field(default_factory=list)
    replay: Callable | None = None
    attention: list[dict] = field(default_factory=list)
    moment: tuple[list, int] = ((), 0)  # the reference's predictions that it is part of, and the step
    scalars: list[np.ndarray] = field(default_factory=list)  # timesteps and scales among its own arguments
    given: list[np.ndarray] = field(default_factory=list)  # for the first call with a wrong result and those around it
    ids: tuple[np.ndarray, np.ndarray] | None = None  # the reference's token ids and the port's, of an embedding
    positions: tuple[np.ndarray, np.ndarray] | None = None  # and its ids of several axes, where they differ

    @property
    def leaf(self) -> bool:
        return not self.children

    @property
    def root(self) -> bool:
        """Whether it is the call of a whole network."""
        return "." not in self.path

    def walk(self) -> Iterator[Call]:
        """This call and all calls inside it, innermost first and in the order of execution."""
        for child in self.children:
            yield from child.walk()
        yield self
