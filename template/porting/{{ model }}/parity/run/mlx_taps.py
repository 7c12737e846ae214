"""Record what flows through an MLX model. MLX has no hooks, so ``__call__`` of every class is wrapped temporarily."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.run import device

MULTIPLIED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.RMSNorm, nn.LayerNorm, nn.GroupNorm,
)  # fmt: skip


def arrays(value, depth: int = 0) -> Iterator[mx.array]:
    """All arrays in arguments or results, in order. A module that is passed on is skipped, though it is a dict."""
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, dict) and not isinstance(value, nn.Module):
        for item in value.values():
            yield from arrays(item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 4:
        for item in value:
            yield from arrays(item, depth + 1)


def to_numpy(array: mx.array) -> np.ndarray:
    """float32, int64 or bool."""
    if mx.issubdtype(array.dtype, mx.floating):
        return np.array(array.astype(mx.float32))
    if array.dtype == mx.complex64:
        values = np.array(array)
        return np.stack([values.real, values.imag], axis=-1)
    return np.array(array) if array.dtype == mx.bool_ else np.array(array.astype(mx.int64))


def numbers(array: mx.array) -> bytes:
    """The content of an array, with its dtype and shape."""
    return f"{array.dtype}{array.shape}".encode() + to_numpy(array).tobytes()


def components(model: nn.Module) -> dict[str, nn.Module]:
    """The model's networks by attribute name."""
    children = {name: part for name, part in model.items() if isinstance(part, nn.Module)}
    return {name: part for name, part in children.items() if part.parameters()}


def parameters(part: nn.Module, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """All parameters of the component ``name`` as float32, by ``component.path``, one at a time."""
    from mlx.utils import tree_flatten

    for path, array in tree_flatten(part.parameters()):
        if mx.issubdtype(array.dtype, mx.floating):
            yield f"{name}.{path}", np.asarray(array.astype(mx.float32))  # MLX's own memory, not a copy


def modules(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by ``component.path``; lists are not modules."""
    found = {}
    for name, part in components(model).items():
        for path, module in part.named_modules():
            found[f"{name}.{path}".rstrip(".")] = module
    return found


def modules_below(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules inside one, with their paths from there."""
    return [(path, part) for path, part in module.named_modules() if path]


@contextlib.contextmanager
def widened_activations(module: nn.Module) -> Iterator[None]:
    """The parameters that a module passes on (embeddings, learnt queries) are float32 inside this context.

    Those that are multiplied with an input get its type anyway.
    """
    parts = [part for _, part in module.named_modules() if not isinstance(part, MULTIPLIED)]
    short = [(part, name, value) for part in parts for name, value in part.items() if _is_short(value)]
    try:
        for part, name, value in short:
            part[name] = value.astype(mx.float32)
        yield
    finally:
        for part, name, value in short:
            part[name] = value


def _is_short(value) -> bool:
    return isinstance(value, mx.array) and value.dtype in (mx.bfloat16, mx.float16)


class TapError(BaseException):
    """An error in the comparison itself. Not an Exception, so that handlers for the port's errors do not catch it."""


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        device.stop_if_lacking(error)  # an earlier operation raised it, but MLX computes it only now
        raise TapError(f"{type(error).__name__}: {error}") from error


class Sink:
    """What MlxTaps calls. ``enter`` may return other arguments and, third, a result that replaces the call."""

    def enter(self, path: str, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict, object]:
        return args, kwargs, None

    def leave(self, path: str, module: nn.Module, args: tuple, kwargs: dict, result, call: Callable):
        return result

    def attention(self, path: str, query, key, value, scale: float, result) -> None:
        pass


class MlxTaps:
    """Wraps a model's modules and scaled dot product attention while it is attached."""

    def __init__(self, model: nn.Module, sink: Sink):
        self.model, self.sink = model, sink
        self._paths = {id(module): path for path, module in modules(model).items()}
        self._stack: list[int] = []
        self._quiet = False
        self._undo: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def attached(self) -> Iterator[MlxTaps]:
        try:
            for kind in self._kinds():
                self._wrap_class(kind)
            self._wrap_attention()
            yield self
        finally:
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()

    def _kinds(self) -> set[type]:
        found = {kind for module in modules(self.model).values() for kind in type(module).__mro__}
        return {kind for kind in found if "__call__" in vars(kind) and issubclass(kind, nn.Module)}

    def _wrap_class(self, kind: type) -> None:
        original = kind.__call__

        def wrapped(module, *args, **kwargs):
            path = self._paths.get(id(module))
            if path is None or self._quiet or self._stack and self._stack[-1] == id(module):
                return original(module, *args, **kwargs)
            return self._call(original, module, path, args, kwargs)

        kind.__call__ = wrapped
        self._undo.append(lambda: setattr(kind, "__call__", original))

    def _call(self, original, module, path: str, args: tuple, kwargs: dict):
        with _own_errors():
            args, kwargs, known = self.sink.enter(path, module, args, kwargs)
        if known is not None:
            return known
        self._stack.append(id(module))
        try:
            result = original(module, *args, **kwargs)
        finally:
            self._stack.pop()

        def again(*others, **named):
            # The module alone, on other input, not recorded.
            self._quiet = True
            try:
                with widened_activations(module):
                    return original(module, *others, **named)
            finally:
                self._quiet = False

        with _own_errors():
            return self.sink.leave(path, module, args, kwargs, result, again)

    def _wrap_attention(self) -> None:
        original = mx.fast.scaled_dot_product_attention

        def wrapped(q, k, v, *args, **kwargs):
            result = original(q, k, v, *args, **kwargs)
            if self._stack and not self._quiet:
                scale = kwargs["scale"] if "scale" in kwargs else args[0]
                with _own_errors():
                    self.sink.attention(self._paths[self._stack[-1]], q, k, v, float(scale), result)
            return result

        # Modules may hold copies of the function (`from mlx.core.fast import …`).
        for module in [module for name, module in sys.modules.items() if name.startswith(("mflux", "mlx"))]:
            if vars(module).get("scaled_dot_product_attention") is original:
                module.scaled_dot_product_attention = wrapped
                self._undo.append(lambda module=module: setattr(module, "scaled_dot_product_attention", original))
        mx.fast.scaled_dot_product_attention = wrapped
        self._undo.append(lambda: setattr(mx.fast, "scaled_dot_product_attention", original))
