"""The state that the parts of one run share: facts about the reference, and where the run is now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from parity.compare.calls import Branch, ReferenceCalls
from parity.metrics import Distance, distance
from parity.record.recording import Recording
from parity.run.mlx_taps import to_numpy
from parity.run.port_latent_orders import PortOrders
from parity.run.run_trace import Comparison, RunTrace

FORCED, LOOP, FREE = "forced", "loop", "free"
UNKNOWN = Distance(float("nan"), float("nan"), 0.0, float("nan"))  # for tensors that cannot be compared


@dataclass
class RunState:
    """``force`` is FORCED (every stage gets the reference's input), LOOP (only noise and prompt embeddings are the
    reference's) or FREE (only the noise is). Stages in ``skip`` return the reference's result."""

    recording: Recording
    calls: ReferenceCalls
    orders: PortOrders
    force: str
    progress: Callable[[str], None]
    skip: set[str] = field(default_factory=set)
    trace: RunTrace = field(default_factory=RunTrace)
    stage: str = "text_encoder"
    step: int = 0
    branches: list[Branch | None] = field(default_factory=list)  # the reference's, for each row of the current call
    prediction: mx.Dtype | None = None  # the type in which the scheduler gets predictions; None before the first
    placed: list[tuple[mx.array, mx.array]] = field(default_factory=list)  # its values in that call: given, and float32

    @property
    def forced(self) -> bool:
        """Whether every stage gets the reference's input."""
        return self.force == FORCED

    @property
    def dtype(self) -> mx.Dtype:
        """The dtype of the run."""
        from mflux.models.common.config.model_config import ModelConfig

        return ModelConfig.precision

    @property
    def moment(self) -> tuple[list[Branch | None], int]:
        """The branches of the current call, and the step."""
        return self.branches, self.step

    @contextlib.contextmanager
    def at(self, moment: tuple[list[Branch | None], int]) -> Iterator[None]:
        """Return to an earlier moment inside this context."""
        before = self.moment
        self.branches, self.step = moment
        try:
            yield
        finally:
            self.branches, self.step = before

    def widened(self, dtype: mx.Dtype) -> mx.Dtype:
        """The dtype for the reference's values in place of the port's."""
        # A port that always returns bfloat16 is reported there; the next stage gets the reference's values.
        return mx.float32 if self.dtype == mx.float32 else dtype

    def compare(self, name: str, reference: np.ndarray, own: np.ndarray) -> None:
        """Record how far a tensor is from the reference's of the same shape."""
        self.trace.seen.append(Comparison(name, reference, own, distance(reference, own)))

    def other_shape(self, label: str, reference: np.ndarray, own: np.ndarray) -> None:
        """Record both shapes of a tensor that cannot be compared."""
        self.not_comparable(
            label, reference, own, f"{label} is {list(own.shape)}; the reference's is {list(reference.shape)}"
        )

    def not_comparable(self, label: str, reference: np.ndarray, own: np.ndarray, note: str) -> None:
        """Record why a tensor cannot be compared."""
        self.trace.notes.append(note)
        self.trace.seen.append(Comparison(label, reference, own, UNKNOWN, aligned=False))

    def exchange(self, name: str, array: mx.array, stage: str) -> mx.array:
        """Compare (when ``stage`` is given), and in a forced run return the reference's values in the port's layout."""
        if name not in self.recording or self.orders.loop is None:
            return array  # the order is unknown: nothing can be compared
        own, order, reference = to_numpy(array), self.orders.loop, self.recording.get(name)
        label = f"{stage}/{name.split('/', 1)[1]}"
        if own.size != order.ids.size or reference.size != own.size:
            if stage:
                self.other_shape(label, reference, own)
            return array
        if stage:
            self.compare(label, reference, order.to_source(own, reference.size).reshape(reference.shape))
        return mx.array(order.of_source(reference, own)).astype(array.dtype) if self.forced else array
