"""The error that is shown to the user, and its formatting as one line."""

from __future__ import annotations

import reprlib

_MAX_LENGTH = 500
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlong = 40


class PortError(Exception):
    """Wrong input. The message is one line: what is wrong, where, and what to do. ``mflux-port`` exits with 2."""


def short_repr(value: object) -> str:
    """A value for a message, shortened."""
    return _SHORT.repr(value)


def one_line(text: str) -> str:
    """Text for a terminal: unprintable characters and line breaks become spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def format_error(error: object) -> str:
    """An error as one printable line; a long one is shortened in the middle."""
    half = _MAX_LENGTH // 2
    text = str(error)
    if len(text) > 8 * _MAX_LENGTH:
        text = f"{text[: 4 * _MAX_LENGTH]} {text[-4 * _MAX_LENGTH :]}"
    text = " ".join(one_line(text).split())
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} … {text[-half:]}"
