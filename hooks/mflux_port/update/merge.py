"""What Copier's merge leaves undone: moved files, edits that it would lose, and the porter's files that are new."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout.git import ask_git, git, merge_texts
from mflux_port.checkout.lock import under_way
from mflux_port.errors import PortError
from mflux_port.port.answers import read_answers
from mflux_port.template.project import owned_paths
from mflux_port.update.migrations import committed_answers
from mflux_port.update.tree import amend


class Completed(NamedTuple):
    """``kept``: the porter's edited files that the merge took away or replaced, each with the reason, left as conflicts.

    ``brought``: files of the porter's kind that the answers, or the template, ask for only now. ``yours``: such files
    that were there and would be rendered otherwise from the answers as they are now, each with git's names of both texts.
    """

    kept: dict[str, str]
    brought: list[str]
    yours: dict[str, tuple[str, str]]


class Renderings:
    """The port's files as the template renders them before and after this update, each brought when it is asked for."""

    def __init__(self, root: Path, model: str, template: Path):
        self.model, self.template = model, template
        self.answers = _plain(committed_answers(root, model)), _plain(read_answers(root, model))

    @property
    def answers_changed(self) -> bool:
        return self.answers[0] != self.answers[1]

    def added(self) -> list[str]:
        """The files that this version of the template may render and the port's could not."""
        options = ("--name-only", "--no-renames", "--diff-filter=A", "--relative=template", "-z")
        shown = ask_git(self.template, "diff", *options, os.environ["VERSION_FROM"], "HEAD") or b""
        names = re.sub(r"\{%.*?%\}|[.]jinja(?=\0)", "", shown.decode()).split("\0")
        return [re.sub(r"\{\{ model \}\}", self.model, name) for name in names if name]

    @cached_property
    def old(self) -> dict[str, bytes]:
        return _rendered(self.template, os.environ["VERSION_FROM"], self.answers[0])

    @cached_property
    def new(self) -> dict[str, bytes]:
        return _rendered(self.template, "HEAD", self.answers[1])


def complete(root: Path, model: str, template: str) -> Completed:
    """Do it all, in the work tree after Copier's merge. ``template`` is Copier's clone of the template."""
    renderings = Renderings(root, model, Path(template))
    for origin, place in _open_moves(root):
        _move(root, renderings, origin, place)
    kept = _keep_edits(root, renderings)
    owned = owned_paths(model)
    if renderings.answers_changed:
        return Completed(kept, _bring(root, renderings, owned), _left_behind(root, renderings, owned))
    grown = any(_is_owned(name, owned) for name in renderings.added())
    return Completed(kept, _bring(root, renderings, owned) if grown else [], {})


def _open_moves(root: Path) -> list[tuple[str, str]]:
    # Without those of a port that was started after the move, and so has the file at its new place alone.
    moves = (under_way(root) or {}).get("moves", ())
    committed = set(git(root, "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0")) if moves else set()
    return [(origin, place) for origin, place in moves if origin in committed or place not in committed]


def _move(root: Path, renderings: Renderings, origin: str, place: str) -> None:
    # Copier has by now removed `origin` and rendered `place` afresh, or left both alone when the porter owns the file.
    # The index holds the move, so that git shows a rename.
    mine, base, theirs = _committed(root, origin), renderings.old.get(origin), root / place
    if mine is None:
        if base is not None and _committed(root, place) is None:
            theirs.unlink(missing_ok=True)  # the porter deleted it at its old place
        return
    if _committed(root, place) is not None:
        return  # the porter has a file of that name, which Copier merged; edits at the old place are kept there
    if not theirs.exists() and not (root / origin).exists():
        return  # rendered no longer, under neither name
    clean = True
    amend(root, writes=[*under_way(root)["writes"], origin, place])
    theirs.parent.mkdir(parents=True, exist_ok=True)
    if theirs.exists():
        after = theirs.read_bytes()
        merged, clean = merge_texts(mine, base or b"", after)
        theirs.write_bytes(merged)
    else:
        (root / origin).rename(theirs)
    (root / origin).unlink(missing_ok=True)
    git(root, "add", "--all", "--force", "--", origin, place)
    if not clean:
        _mark_conflict(root, place, base, mine, after)


def _keep_edits(root: Path, renderings: Renderings) -> dict[str, str]:
    # Copier deletes what the template renders no longer, edited or not, and replaces what is no text any more.
    kept = {}
    for name, reason in _taken(root).items():
        mine = _committed(root, name)
        base = renderings.old.get(name)
        if mine is None or mine == base or (base is None and not (root / name).exists()):
            continue
        after = (root / name).read_bytes() if (root / name).exists() else None
        git(root, "checkout", "--quiet", "HEAD", "--", name)
        _mark_conflict(root, name, base, mine, after)
        kept[name] = reason
    return kept


def _taken(root: Path) -> dict[str, str]:
    # Lines of `added, removed, name`; both are `-` for what is no text. A move is in the index and does not show.
    taken = {}
    for line in git(root, "diff", "--numstat", "--no-renames", "--relative", "-z").split("\0"):
        added, _, name = line.split("\t", 2) if line else ("", "", "")
        if name and not (root / name).exists():
            taken[name] = "you edited it, the template has it no longer"
        elif added == "-":
            taken[name] = "it is no text here, so the template's change could not be merged"
    return taken


def _bring(root: Path, renderings: Renderings, owned: list[str]) -> list[str]:
    # An update never renders what the porter owns; what no earlier answers asked for has not been there yet.
    missing = [name for name in renderings.new if _is_owned(name, owned) and name not in renderings.old]
    missing = [name for name in sorted(missing) if not (root / name).exists()]
    if missing:
        amend(root, writes=[*under_way(root)["writes"], *missing])
    for name in missing:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(renderings.new[name])
    return missing


def _left_behind(root: Path, renderings: Renderings, owned: list[str]) -> dict[str, tuple[str, str]]:
    behind = {}
    for name, old in sorted(renderings.old.items()):
        new = renderings.new.get(name, b"")
        if _is_owned(name, owned) and (root / name).exists() and old != new:
            behind[name] = _stored(root, old)[:12], _stored(root, new)[:12]
    return behind


def _is_owned(name: str, owned: list[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in owned)


def _mark_conflict(root: Path, name: str, base: bytes | None, mine: bytes, theirs: bytes | None) -> None:
    # As a merge of git's own leaves it: the three texts in the index, so that nobody commits it unawares.
    path = git(root, "rev-parse", "--show-prefix").strip() + name
    mode = "100755" if os.access(root / name, os.X_OK) else "100644"
    stages = enumerate((base, mine, theirs), 1)
    lines = [f"0 {'0' * 40}\t{path}"]
    lines += [f"{mode} {_stored(root, text)} {stage}\t{path}" for stage, text in stages if text is not None]
    git(root, "update-index", "--index-info", data="\n".join([*lines, ""]).encode())


def _stored(root: Path, text: bytes) -> str:
    return git(root, "hash-object", "-w", "--stdin", data=text).strip()


def _committed(root: Path, name: str) -> bytes | None:
    return ask_git(root, "show", f"HEAD:./{name}")


def _plain(answers: dict) -> dict:
    return {name: value for name, value in answers.items() if not name.startswith("_")}


def _rendered(template: Path, version: str, answers: dict) -> dict[str, bytes]:
    import copier  # this runs in Copier's own interpreter
    import jinja2

    # The name tells copier.yml's validators that no checkout is to be expected here.
    scratch = Path(tempfile.mkdtemp(prefix="copier._main.rendered."))
    try:
        copier.run_copy(
            str(template),
            scratch,
            data=answers,
            vcs_ref=version,
            defaults=True,
            quiet=True,
            unsafe=True,
            skip_tasks=True,
        )
        files = [path for path in scratch.rglob("*") if path.is_file()]
        return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in files}
    except (copier.errors.CopierError, jinja2.TemplateError, ValueError) as error:
        raise PortError(
            f"version {version} of the template does not render from the port's answers ({error})"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
