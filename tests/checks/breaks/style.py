"""STY: what each rule of ``checks/rules/style.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, replace
from tests.checks.paths import COMMAND, CREATOR, FEED_FORWARD, VARIANT

BREAKS = [
    Break(
        "STY01",
        replace(
            FEED_FORWARD,
            "def __call__(self, ",
            'def text(self):\n        """A docstring."""\n\n    def __call__(self, ',
        ),
    ),
    Break("STY01", append(FEED_FORWARD, "\n\nclass A:\n    'what it is'\n"), "in single quotes"),
    Break("STY02", append(FEED_FORWARD, "\n\ndef helper():\n    return 1\n")),
    Break(
        "STY03",
        append(
            CREATOR,
            "\n    @staticmethod\n    def _private():\n        return 1\n\n    @staticmethod\n    def public():\n        return 1\n",
        ),
    ),
    Break("STY04", append(FEED_FORWARD, f"# {'long ' * 30}\n")),
    Break("STY05", replace(FEED_FORWARD, "import mlx", "import diffusers\nimport mlx")),
    Break(
        "STY06",
        replace(
            VARIANT,
            "        seed: int,\n        prompt: str,\n        num",
            "        seed,\n        prompt: str,\n        num",
        ),
    ),
    Break("STY07", append(FEED_FORWARD, "<<<<<<< before updating\n")),
    Break("STY08", append(FEED_FORWARD, "x = = 1\n")),
    Break("STY08", append(COMMAND, "x = = 1\n"), "a broken test"),
    Break("STY09", append(FEED_FORWARD, "# this explains at length what is done\n" * 6)),
]
