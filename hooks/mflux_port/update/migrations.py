"""Changes that a template version may make to earlier ports: rename a question, move, merge or hand over files."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.checkout.git import git
from mflux_port.checkout.lock import under_way
from mflux_port.port.answers import ANSWERS
from mflux_port.update.moves import handed_over, moves_of
from mflux_port.update.tree import amend
from mflux_port.update.v0_2_0_edit_methods import add_edit_methods
from mflux_port.update.v0_2_0_waiver_files import merge_waivers

_CHANGES = {"v0.2.0": (merge_waivers, add_edit_methods)}


def rename_answer(root: Path, model: str, old: str, new: str) -> None:
    """Before the merge: the answer to ``old`` becomes the one to ``new``.

    Does nothing if it has been renamed already.
    """
    path = root / ANSWERS.format(model=model)
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^{new}:", text, re.MULTILINE):
        path.write_text(re.sub(rf"^{old}:", f"{new}:", text, flags=re.MULTILINE), encoding="utf-8")


def migrate(root: Path, model: str, version: str) -> None:
    """After the merge: everything that ``version`` changed in the files of ports of earlier versions."""
    for old, new in moves_of(version, model).items():
        move_file(root, model, old, new)
    amend(root, handed_over=[*(under_way(root) or {}).get("handed_over", ()), *handed_over(version, model)])
    for change in _CHANGES.get(version, ()):
        change(root, model)


def move_file(root: Path, model: str, old: str, new: str) -> None:
    """After the merge: the file at ``old`` (``{model}`` stands for the model) continues at ``new``, with its edits.

    This only records the move. ``merge.complete`` carries it out, so that two moves of a file, in two versions, become
    one.
    """
    moves = dict((under_way(root) or {}).get("moves", ()))
    old, new = old.format(model=model), new.format(model=model)
    origin = next((origin for origin, place in moves.items() if place == old), old)
    amend(root, moves=list((moves | {origin: new}).items()))


def committed_answers(root: Path, model: str) -> dict:
    """The answers as of the last commit."""
    import yaml  # Copier's interpreter has it

    answers = yaml.safe_load(git(root, "show", f"HEAD:./{ANSWERS.format(model=model)}"))
    return answers if isinstance(answers, dict) else {}
