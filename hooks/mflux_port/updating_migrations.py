"""What a version of the template may do to ports of an earlier one: rename a question, move a rendered file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from mflux_port.answers import ANSWERS
from mflux_port.errors import PortError
from mflux_port.updating_tree import git


def rename_answer(root: Path, model: str, old: str, new: str) -> None:
    """Before the merge: the answer to ``old`` becomes the one to ``new``. Nothing happens when it was renamed."""
    path = root / ANSWERS.format(model=model)
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^{new}:", text, re.MULTILINE):
        path.write_text(re.sub(rf"^{old}:", f"{new}:", text, flags=re.MULTILINE), encoding="utf-8")


def move_file(root: Path, model: str, old: str, new: str, template: str) -> None:
    """After the merge: the file at ``old`` (``{model}`` stands for the model) goes on at ``new``, with its edits.

    Copier has by then removed ``old`` and rendered ``new`` afresh, or left both alone when the porter owns the file.
    The index holds the move, so that git shows a rename. ``template`` is Copier's clone of the template.
    """
    old, new = old.format(model=model), new.format(model=model)
    if not _committed(root, old):
        # Nothing there to go on with: the porter deleted it, or this checkout never had it.
        if not _committed(root, new) and _was_rendered(root, model, old, template):
            (root / new).unlink(missing_ok=True)
        return
    if not (root / new).exists():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        git(root, "mv", old, new)
        return
    clean = _merge(root, old, new, _rendered(root, model, old, template))
    (root / old).unlink(missing_ok=True)
    if clean:  # a conflict stays out of the index: adding it there says that it is resolved
        git(root, "add", "--all", "--", old, new)


def committed_answers(root: Path, model: str) -> dict:
    """The answers as of the last commit."""
    import yaml  # Copier's interpreter has it

    answers = yaml.safe_load(git(root, "show", f"HEAD:./{ANSWERS.format(model=model)}"))
    return answers if isinstance(answers, dict) else {}


def _merge(root: Path, old: str, new: str, base: bytes | None) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        mine, before = Path(scratch, "mine"), Path(scratch, "before")
        mine.write_bytes(_committed(root, old) or b"")
        before.write_bytes(base or b"")
        labels = [word for name in ("before updating", "last update", "after updating") for word in ("-L", name)]
        command = ["git", "merge-file", "--stdout", *labels, str(mine), str(before), str(root / new)]
        merged = subprocess.run(command, capture_output=True)
    if merged.returncode < 0 or merged.returncode > 127:
        raise PortError(f"{old} could not be merged into {new}; `git show HEAD:{old}` has the edits")
    (root / new).write_bytes(merged.stdout)
    return merged.returncode == 0


def _was_rendered(root: Path, model: str, name: str, template: str) -> bool:
    return _rendered(root, model, name, template) is not None


def _rendered(root: Path, model: str, name: str, template: str) -> bytes | None:
    """The file as the port's template version rendered it, or None when it rendered none."""
    import copier  # this runs in Copier's own interpreter

    answers = {key: value for key, value in committed_answers(root, model).items() if not key.startswith("_")}
    # The name tells copier.yml's validators that no checkout is to be expected here.
    scratch = tempfile.mkdtemp(prefix="copier._main.moved.")
    try:
        copier.run_copy(
            template,
            scratch,
            data=answers,
            vcs_ref=os.environ["VERSION_FROM"],
            defaults=True,
            quiet=True,
            unsafe=True,
            skip_tasks=True,
        )
        path = Path(scratch, name)
        return path.read_bytes() if path.is_file() else None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _committed(root: Path, name: str) -> bytes | None:
    shown = subprocess.run(["git", "-C", str(root), "show", f"HEAD:./{name}"], capture_output=True)
    return shown.stdout if shown.returncode == 0 else None
