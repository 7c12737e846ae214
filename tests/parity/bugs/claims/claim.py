"""One bug in a claim, and how it changes the port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

LORA, TRAINING, IMAGE, QUANTIZED = "lora", "training", "image", "quantized"


@dataclass(frozen=True)
class Claim:
    name: str
    claim: str
    apply: Callable
    row: str
    words: str
    named: str = ""  # what waivers.yml names


@contextlib.contextmanager
def replaced(owner, name: str, value):
    """A static or plain attribute of a class, replaced inside this context."""
    had, before = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before) if had else delattr(owner, name)
