"""The file of answers that ``start`` keeps in the checkout until the copy has read it, with notes of its own."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.files.yaml_files import read_yaml

ANSWERS_FILE = "mflux-port-answers.yml"
_FOR = "# start: these answers are for "
_NOTED = re.compile(rf"^{_FOR}(.*)$", re.MULTILINE)
_COPYING = "# start: the copy has begun"


_CURE = "fix it, or delete it and start again"


def read_answers(file: Path) -> dict:
    """The answers in the file. Raises PortError for anything but a mapping."""
    answers = read_yaml(file, _CURE) or {}
    if not isinstance(answers, dict):
        raise PortError(f"{file} is not a mapping of answers; {_CURE}")
    return answers


def answers_text(file: Path) -> str:
    """The file's text. Raises PortError unless it is UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PortError(f"{file} is not UTF-8 text; {_CURE}") from None


def copy_has_begun(file: Path) -> bool:
    """Whether a copy with these answers was interrupted, or is running."""
    return file.is_file() and _COPYING in answers_text(file)


def note_copy(file: Path, has_begun: bool) -> None:
    """Note in the file that the copy has begun, or that it was rolled back."""
    text = answers_text(file).replace(f"\n{_COPYING}\n", "").rstrip()
    write_whole(file, f"{text}\n\n{_COPYING}\n" if has_begun else f"{text}\n")


def checkpoint_of(file: Path) -> str:
    """The checkpoint that the answers are for; empty if it is not noted."""
    noted = _NOTED.search(answers_text(file)) if file.is_file() else None
    return noted[1] if noted else ""


def verify_same_checkpoint(file: Path, place: str) -> None:
    """Note in the answers that they are for the checkpoint at ``place``; raise PortError when they
    are for another one.
    """
    noted = checkpoint_of(file)
    if not noted:
        write_whole(file, f"{answers_text(file).rstrip()}\n\n{_FOR}{place}\n")
    elif noted != place:
        raise PortError(f"{ANSWERS_FILE} is for {noted}; delete it to start with {place}")


def set_answers(file: Path, given: dict[str, object]) -> None:
    """Write the command line's values into the answers, in place of those that ``inspect`` found or left open."""
    text = answers_text(file)
    for name, typed in given.items():
        value = str(typed).lower() if isinstance(typed, bool) else typed
        missing = re.compile(rf"^# LOOK UP - {name} is not in the checkpoint.*$", re.MULTILINE)
        # Replace it in the entries of `checkpoints` too, which repeat the values that all of them share.
        found = re.compile(rf"^(?:# LOOK UP.*\n)?( *(?:- )?){name}: .*$", re.MULTILINE)
        if missing.search(text):
            text = missing.sub(f"{name}: {value}", text)
        elif found.search(text):
            text = found.sub(rf"\g<1>{name}: {value}", text)
        else:
            text = f"{text.rstrip()}\n\n{name}: {value}\n"
    write_whole(file, text)
