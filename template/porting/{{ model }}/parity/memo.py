"""Keep the results of whole networks by their inputs, so that no network runs twice on the same numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

PLAIN = (int, float, bool, str, type(None))


class Memo:
    """``get(name, args, kwargs)`` returns what ``put`` stored for exactly the same numbers, else None.

    ``kind`` is the library's tensor, ``numbers`` gives its bytes with its dtype and shape. A call with more than
    numbers is not stored: the content of such an object may change.
    """

    def __init__(self, kind: type, numbers: Callable[[object], bytes]):
        self.kind, self.numbers = kind, numbers
        self._results: dict[str, object] = {}

    def get(self, name: str, args: tuple, kwargs: dict):
        key = self._key(name, args, kwargs)
        return self._results.get(key) if key else None

    def put(self, name: str, args: tuple, kwargs: dict, result) -> None:
        key = self._key(name, args, kwargs)
        if key:
            self._results[key] = result

    def clear(self) -> None:
        self._results.clear()

    def _key(self, name: str, args: tuple, kwargs: dict) -> str:
        digest = hashlib.blake2b(name.encode(), digest_size=16)
        return digest.hexdigest() if self._add(digest, (args, kwargs)) else ""

    def _add(self, digest, value) -> bool:
        if isinstance(value, self.kind):
            digest.update(self.numbers(value))
            return True
        if isinstance(value, PLAIN) or type(value).__name__ in ("dtype", "Dtype"):
            digest.update(repr(value).encode())
            return True
        if type(value) is dict:
            return all(self._add(digest, key) and self._add(digest, item) for key, item in value.items())
        if type(value) in (list, tuple):
            digest.update(f"{type(value).__name__}{len(value)}".encode())
            return all(self._add(digest, item) for item in value)
        return False
