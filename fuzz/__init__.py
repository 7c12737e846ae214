"""Coverage-guided fuzzing of the code that reads other people's bytes.

Linux only: ``uv run --group fuzz python -m fuzz header``.

A target is a module with ``one(data)``, which raises for an input that is handled wrongly, with ``WORDS`` that are
inserted into inputs unchanged, and with the size of its ``LONGEST`` input. ``corpus/<target>`` has the inputs that are
kept.
"""

from __future__ import annotations

from pathlib import Path

TARGETS = ("header", "splicing")
CORPUS = Path(__file__).with_name("corpus")


def cases(target: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted((CORPUS / target).iterdir())
