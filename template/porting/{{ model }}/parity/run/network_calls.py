"""Decide which calls of the port's networks are computed, replaced or answered from memory while a run is attached."""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from parity.memo import Memo
from parity.record.recording import is_denoiser
from parity.run.forced_transformer import ForcedTransformer
from parity.run.mlx_taps import Sink, arrays
from parity.run.module_replay import in_float32
from parity.run.residents import Residents


class NetworkCalls(Sink):
    """Sends calls of whole networks through the run; everything else goes to the run's own sink.

    A network's result for exactly the same numbers is not computed again, unless its modules are being recorded.
    """

    def __init__(self, transformer: ForcedTransformer, residents: Residents, memo: Memo, sink: Sink):
        self.transformer, self.residents, self.memo, self.sink = transformer, residents, memo, sink
        self.recorded = type(sink) is not Sink

    def enter(self, path, module, args, kwargs):
        if "." in path:
            self.residents.enter(path.split(".")[0])
            return self.sink.enter(path, module, args, kwargs)
        if is_denoiser(path):
            args, kwargs, result = self.transformer.enter(path, args, kwargs)
            if result is not None:
                return args, kwargs, result
        known = None if self.recorded else self.memo.get(path, args, kwargs)
        if known is not None:
            return args, kwargs, self._handed_on(path, known)
        self.residents.enter(path)
        return self.sink.enter(path, module, args, kwargs)

    def leave(self, path, module, args, kwargs, result, call):
        result = self.sink.leave(path, module, args, kwargs, result, call)
        if "." in path:
            return result
        mx.eval(list(arrays(result)))  # otherwise it would keep the network's weights
        self.memo.put(path, args, kwargs, result)
        return self._handed_on(path, result, functools.partial(in_float32, call, args, kwargs))

    def attention(self, *args):
        self.sink.attention(*args)

    def _handed_on(self, path, result, again: Callable | None = None):
        return self.transformer.leave(result, again) if is_denoiser(path) else result
