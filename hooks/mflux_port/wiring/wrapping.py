"""Wrap long lines as mflux's formatter does."""

from __future__ import annotations

import json

WIDTH = 120


def wrapped(head: str, items: list[str], tail: str, lead: str = "", width: int = WIDTH) -> str:
    """``head``, ``items`` and ``tail`` on one line, or one item per line if that is wider than ``width``."""
    line = f"{lead}{head}{', '.join(items)}{tail}"
    if len(line) <= width:
        return line
    return "\n".join([f"{lead}{head}", *(f"{lead}    {item}," for item in items), f"{lead}{tail}"])


def condition(keyword: str, subject: str, keys: list[str], lead: str) -> str:
    """A test (``if`` or ``elif``) that the subject is one of ``keys``: ``==`` for one, ``in`` a set for several."""
    quoted = [json.dumps(key) for key in keys]
    if len(quoted) == 1:
        return f"{lead}{keyword} {subject} == {quoted[0]}:\n"
    return wrapped(f"{keyword} {subject} in {{", quoted, "}:", lead) + "\n"


def import_line(module: str, name: str, lead: str = "") -> str:
    """``from module import name``."""
    line = f"{lead}from {module} import {name}"
    return f"{line}\n" if len(line) <= WIDTH else f"{lead}from {module} import (\n{lead}    {name},\n{lead})\n"
