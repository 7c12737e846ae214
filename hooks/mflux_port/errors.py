"""The one error that reaches a person, and the one line that it becomes."""

from __future__ import annotations

import reprlib

_LONGEST = 500
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 120
_BRIEF.maxlong = 40


class PortError(Exception):
    """Wrong input. The message is one line: what is wrong, where, and what to do. ``mflux-port`` exits with 2."""


def short_repr(value: object) -> str:
    """A wrong value as it may stand in a message, shortened."""
    return _BRIEF.repr(value)


def one_line(text: str) -> str:
    """Text as it may stand in a terminal: no line breaks, nothing that cannot be printed."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def format_error(error: object) -> str:
    """An error as one line that stays readable whatever a file's names are: in its middle when it is too long."""
    half = _LONGEST // 2
    text = str(error)
    if len(text) > 8 * _LONGEST:
        text = f"{text[: 4 * _LONGEST]} {text[-4 * _LONGEST :]}"
    text = " ".join(one_line(text).split())
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"
