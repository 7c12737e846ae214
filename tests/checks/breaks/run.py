"""RUN: what each rule of ``checks/rules/run.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append
from tests.checks.paths import FEED_FORWARD

BREAKS = [
    Break("RUN01", append(FEED_FORWARD, "\nimport os\n")),
]
