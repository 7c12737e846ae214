"""The skips that rendered tests are allowed without a checkpoint and without the reference's libraries."""

from __future__ import annotations

import re

EXPECTED = re.compile(r"no key list yet|could not import 'diffusers'")


def unexpected_skips(said: str) -> list[str]:
    """The lines of ``pytest -rs`` that name another reason."""
    return [line for line in said.splitlines() if line.startswith("SKIPPED") and not EXPECTED.search(line)]
