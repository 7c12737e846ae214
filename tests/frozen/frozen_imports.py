"""A plugin for pytest: mflux collects garbage after each picture, and does not look at what was imported before."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
