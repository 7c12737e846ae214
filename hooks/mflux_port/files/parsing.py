"""Parse Python, TOML and JSON that other people wrote. For a file that cannot be parsed, each format has one error."""

from __future__ import annotations

import ast
import json
import re
import tomllib
import warnings
from codecs import BOM_UTF8
from functools import lru_cache

_ENCODING_LINE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_UTF8_NAMES = ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii")


def parse_python(source: str | bytes) -> ast.Module:
    """The syntax tree, without the parser's warnings. Raises SyntaxError, whose ``lineno`` may be None.

    Bytes must be UTF-8, because positions in the tree are offsets into UTF-8, even if an encoding line names another
    encoding.
    """
    return parsed(_utf8(source) if isinstance(source, bytes) else source)


@lru_cache(maxsize=64)
def parsed(source: str | bytes) -> ast.Module:
    """The same for source that is known to be UTF-8. The tree is cached and must not be changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # a NUL byte; nesting too deep for the parser
            raise SyntaxError(str(error) or "nested too deeply") from None


def imported_from(tree: ast.Module) -> dict[str, str]:
    """The module of every name that a file imports with ``from module import name``, at its top level."""
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module for node in imports for alias in node.names}


def parse_toml(data: bytes) -> dict:
    """The content of a TOML file. Raises ValueError."""
    try:
        return tomllib.loads(data.removeprefix(BOM_UTF8).decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(data: str | bytes) -> object:
    """The content of a JSON file. Raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def console_scripts(data: bytes) -> dict[str, object]:
    """The commands of a pyproject.toml with their targets. Raises ValueError when they are not a table."""
    project = parse_toml(data).get("project", {})
    scripts = project.get("scripts", {}) if isinstance(project, dict) else None
    if not isinstance(scripts, dict):
        raise ValueError("[project.scripts] is not a table of commands")
    return scripts


def _utf8(source: bytes) -> str | bytes:
    """The text. ASCII bytes with an encoding line of another name stay bytes, so that Python checks that name."""
    try:
        text = source.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise SyntaxError("not UTF-8") from None
    matches = (_ENCODING_LINE.match(line) for line in source.split(b"\n", 2)[:2])
    encoding = next((match[1].decode().lower() for match in matches if match), "utf-8")
    if encoding.replace("_", "-") in _UTF8_NAMES:
        return text
    if not source.isascii():
        raise SyntaxError(f"not UTF-8 but {encoding}")
    return source
