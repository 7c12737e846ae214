"""Find the rules that make git ignore a path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout.git import ask_git, git

_COMMAND = ("-c", "core.excludesFile=", "check-ignore", "--verbose", "--non-matching", "--no-index", "--")


class IgnoreRule(NamedTuple):
    """A pattern of an ignore file. ``file`` is relative to the checkout, ``line`` counts from 1."""

    file: str
    line: int
    pattern: str

    @property
    def hides(self) -> bool:
        return not self.pattern.startswith("!")


def ignore_rules(root: Path, *names: str) -> list[IgnoreRule | None]:
    """For each path, the rule that decides whether git ignores it; None if there is no rule or no ``.git``.

    A rule that ignores a folder decides about everything in it. The user's own ``core.excludesFile`` does not count.
    """
    shown = ask_git(root, *_COMMAND, *names) if (root / ".git").exists() else b""
    if shown is None:
        git(root, "rev-parse", "--git-dir")  # raises if git failed; otherwise no path has a rule
    lines = (shown or b"").decode("utf-8", "replace").removesuffix("\n").split("\n")
    return [_rule(line) for line in lines] if shown else [None] * len(names)


def _rule(line: str) -> IgnoreRule | None:
    # FILE:LINE:PATTERN<tab>PATH, and ::<tab>PATH without a rule.
    found = re.fullmatch(r"(.+?):(\d+):(.*)\t[^\t]*", line)
    return IgnoreRule(found[1], int(found[2]), found[3]) if found else None
