"""Results of whole networks by what went into them: no network runs twice for the same figure."""

from __future__ import annotations

import hashlib

import mlx.core as mx
import numpy as np

from parity.run.mlx_taps import arrays

_evaluate = mx.eval  # a run may replace it for a while
PLAIN = (int, float, bool, str, type(None), mx.Dtype)


class Memo:
    """``get(path, args, kwargs)`` gives what ``put`` was given for the very same numbers, else None."""

    def __init__(self):
        self._results: dict[str, object] = {}

    def get(self, path: str, args: tuple, kwargs: dict):
        key = _key(path, args, kwargs)
        return self._results.get(key) if key else None

    def put(self, path: str, args: tuple, kwargs: dict, result) -> None:
        _evaluate(list(arrays(result)))  # or it would keep the network's weights
        key = _key(path, args, kwargs)
        if key:
            self._results[key] = result


def _key(path: str, args: tuple, kwargs: dict) -> str:
    """Empty for a call that is given more than numbers: what such an object holds may change."""
    digest = hashlib.blake2b(path.encode(), digest_size=16)
    return digest.hexdigest() if _add(digest, (args, kwargs)) else ""


def _add(digest, value) -> bool:
    if isinstance(value, mx.array):
        wide = value.astype(mx.float32) if value.dtype == mx.bfloat16 else value
        digest.update(f"{value.dtype}{value.shape}".encode() + np.array(wide).tobytes())
        return True
    if isinstance(value, PLAIN):
        digest.update(repr(value).encode())
        return True
    if type(value) is dict:
        return all(_add(digest, key) and _add(digest, item) for key, item in value.items())
    if type(value) in (list, tuple):
        digest.update(f"{type(value).__name__}{len(value)}".encode())
        return all(_add(digest, item) for item in value)
    return False
