"""A pytest plugin: garbage collection, which mflux runs after each picture, skips the imported modules."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
