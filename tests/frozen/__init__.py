"""Rendered tests run a third faster if garbage collection skips the objects of torch and transformers."""

from __future__ import annotations

from pathlib import Path

PATH = str(Path(__file__).parent)  # for PYTHONPATH
PLUGIN = ("-p", "frozen_imports")
