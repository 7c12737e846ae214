"""The licence of the library that a reference comes from, as its package names it."""

from __future__ import annotations

import importlib.metadata


def licence_of(file: str) -> str:
    """The licence of the library that a file's path starts with; '' if it is not installed or names none."""
    library = file.partition("/")[0]
    try:
        named = importlib.metadata.metadata(library)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    words = named.get("License-Expression") or named.get("License") or ""
    return words.strip() if "\n" not in words.strip() else ""
