"""Answers as YAML gave them before: PyYAML alone takes a seventh of the time in which a port is wired.

They lie as JSON in the checkout's state folder, with the text that they were read from: another text is read anew.
"""

from __future__ import annotations

import contextlib
import json
import os

from mflux_port.checkout.tree import state_dir
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_json

# JSON does not hold all that YAML can say, and a disk may be full: then there is nothing kept, which harms nobody.
_CANNOT = (OSError, PortError, ValueError, TypeError, RecursionError)


def recalled(root: os.PathLike | str, model: str, text: str) -> object:
    """What ``text`` held when the port's answers were last read; None when they had another text, or were not read."""
    with contextlib.suppress(*_CANNOT):
        with open(_place(root, model), "rb") as file:
            kept = parse_json(file.read())
        if isinstance(kept, list) and len(kept) == 2 and kept[0] == text:
            return kept[1]
    return None


def keep(root: os.PathLike | str, model: str, text: str, answers: object) -> None:
    """Remember that ``text`` holds ``answers``, where there is a state folder."""
    if "&" in text:  # a few lines of anchors can stand for more than any disk holds
        return
    with contextlib.suppress(*_CANNOT):
        place = _place(root, model)
        data = json.dumps([text, answers], allow_nan=False)
        if os.path.isdir(os.path.dirname(place)) and json.loads(data) == [text, answers]:
            with open(place, "w", encoding="utf-8") as file:
                file.write(data)


def _place(root: os.PathLike | str, model: str) -> str:
    return os.path.join(state_dir(root), f"answers-{model}.json")
