"""Python, TOML and JSON that others wrote: what cannot be parsed is one kind of error, whatever the parser raises."""

from __future__ import annotations

import ast
import json
import re
import tomllib
import warnings
from codecs import BOM_UTF8
from functools import lru_cache

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


def parse_python(source: str | bytes) -> ast.Module:
    """The syntax tree, without the parser's warnings. Raises SyntaxError; ``lineno`` may be missing.

    Bytes must be UTF-8: positions in the tree are offsets into that, whatever a coding line says.
    """
    return parsed(_utf8(source) if isinstance(source, bytes) else source)


@lru_cache(maxsize=64)
def parsed(source: str | bytes) -> ast.Module:
    """As ``parse_python``, for what is UTF-8 without doubt; kept for whoever asks again."""
    # Wiring reads back what it writes, and the check behind it reads the same files again: nobody changes a tree.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # NUL; nested deeper than the parser goes
            raise SyntaxError(str(error) or "nested too deeply") from None


def parse_toml(data: bytes) -> dict:
    """A TOML file. Raises ValueError."""
    try:
        return tomllib.loads(data.removeprefix(BOM_UTF8).decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(data: str | bytes) -> object:
    """Raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def console_scripts(data: bytes) -> dict[str, object]:
    """The commands of a pyproject.toml with their targets. Raises ValueError when they are no table."""
    project = parse_toml(data).get("project", {})
    scripts = project.get("scripts", {}) if isinstance(project, dict) else None
    if not isinstance(scripts, dict):
        raise ValueError("[project.scripts] is no table of commands")
    return scripts


def _utf8(source: bytes) -> str | bytes:
    """The text; bytes with a coding line of their own stay as they are, for Python to judge it."""
    try:
        text = source.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise SyntaxError("not UTF-8") from None
    named = (_COOKIE.match(line) for line in source.split(b"\n", 2)[:2])
    cookie = next((match[1].decode().lower() for match in named if match), "utf-8")
    if cookie.replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii"):
        return text
    if not source.isascii():
        raise SyntaxError(f"not UTF-8 but {cookie}")
    return source
