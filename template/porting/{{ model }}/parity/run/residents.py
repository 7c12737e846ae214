"""Keep one large component of the port in memory at a time: a model of 10 billion numbers takes 40 GB in float32.

MLX reads a parameter from its file when it is first used. A component is freed by giving it parameters that
are not read yet, so nothing here knows how any port loads its weights, and no result changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map

from parity.needs import SPARE
from parity.run.mlx_taps import components

_evaluate = mx.eval  # a run may replace it temporarily
PIECE = 1 << 28  # bytes of parameters that are read at a time: their file's copy and the float32 one exist together
ROOM = 4 << 30  # bytes besides the parameters; above this, MLX waits for what it has started


class Residents:
    """``build`` creates the same model again without reading any weights; ``dtype`` is that of the run."""

    def __init__(self, model: nn.Module, build: Callable[[], nn.Module], dtype: mx.Dtype):
        self.model, self.dtype = model, dtype
        self._build = build
        self._unread: dict[str, list[dict]] = {}  # unread parameters, by component
        self._read: list[str] = []  # components in memory, the most recently used one last
        if dtype == mx.float32:
            for part in components(model).values():
                part.update(widened(part.parameters()))

    @property
    def bytes(self) -> dict[str, int]:
        """How large each component is in the dtype of the run."""
        return {name: sum(size(part).values()) for name, part in components(self.model).items()}

    @property
    def limit(self) -> float:
        """The most bytes of parameters that are in memory."""
        return SPARE * max(self.bytes.values(), default=0)

    def enter(self, name: str) -> None:
        """Read a component's parameters, after freeing others if both are too large."""
        if name in self._read:
            self._read.append(self._read.pop(self._read.index(name)))
            return
        part = components(self.model).get(name)
        if part is None:
            return
        sizes = self.bytes
        while self._read and sum(sizes[other] for other in (*self._read, name)) > self.limit:
            self.free(self._read[0])
        before: list[mx.array] = []
        for piece in pieces(part):
            mx.async_eval(piece)
            _evaluate(before)  # two pieces are in progress: one is read, the other one becomes float32
            before = piece
        _evaluate(before)
        self._read.append(name)
        self._set_room(sizes)

    def free(self, name: str) -> None:
        """Free a component's parameters. They are read again on next use."""
        if not self._unread.get(name):
            self._build_again()
        components(self.model)[name].update(self._unread[name].pop())
        self._read = [other for other in self._read if other != name]
        mx.clear_cache()

    def free_all(self) -> None:
        """Free everything in memory: another program needs it."""
        for name in list(self._read):
            self.free(name)

    def _set_room(self, sizes: dict[str, int]) -> None:
        # MLX starts operations far ahead, and keeps what they need: 22 GB for one step of a real model.
        mx.set_memory_limit(sum(sizes[name] for name in self._read) + ROOM)

    def _build_again(self) -> None:
        change = widened if self.dtype == mx.float32 else (lambda tree: tree)
        for name, part in components(self._build()).items():
            self._unread.setdefault(name, []).append(change(part.parameters()))
            for module in part.modules():
                module.clear()  # otherwise the file's copy of the weights stays until garbage collection


def widened(tree):
    """The same parameters in float32, not computed yet. For the reverse, the port decides: tables stay float32."""
    short = (mx.bfloat16, mx.float16)
    return tree_map(lambda array: array.astype(mx.float32) if array.dtype in short else array, tree)


def size(part: nn.Module) -> dict[str, int]:
    """Bytes by parameter."""
    return {path: array.nbytes for path, array in tree_flatten(part.parameters())}


def pieces(part: nn.Module) -> Iterator[list[mx.array]]:
    """All parameters, in groups that are not much larger than PIECE."""
    piece: list[mx.array] = []
    for _, array in tree_flatten(part.parameters()):
        piece.append(array)
        if sum(one.nbytes for one in piece) >= PIECE:
            yield piece
            piece = []
    yield piece
