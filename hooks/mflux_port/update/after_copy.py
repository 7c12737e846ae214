"""The last step of ``copier copy``: wire the new port, or leave the checkout as it was before."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout.lock import exclusive
from mflux_port.checkout.transaction import commit, locked
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError, format_error
from mflux_port.port.port import ANSWERS, load_port
from mflux_port.template.project import rendered_tests

_PATIENCE = 60  # seconds: the files are rendered already, and another run ends soon


def finish_copy(checkout: Path, model: str) -> int:
    """Wire ``model`` into ``checkout``. Returns 0, or 2 after removing what this copy rendered."""
    try:
        with exclusive(checkout, _PATIENCE):
            return _finish_alone(checkout, model)
    except PortError as error:
        return _refuse(f"{error}; {model} was rendered but not wired")


def _finish_alone(checkout: Path, model: str) -> int:
    try:
        _complete_cut_files(checkout, model)
        results = wiring.wire(Checkout(checkout), load_port(checkout, model))
    except PortError as error:
        if not _is_known(checkout, model):
            _remove_rendered(checkout, model)
        return _refuse(error)
    for result in results:
        print(f"  {result}")
    from mflux_port.checks.report import what_is_left  # imported late: a refusal does not need the rules

    for line in what_is_left(checkout, model):
        print(line)
    from mflux_port.update.tracked import ignored_files, ignored_line

    if ignored := ignored_files(checkout, model):
        print(ignored_line(model, ignored))
    print(f"next: porting/{model}/PORTING.md; `mflux-port status` shows the next step")
    return 0


def _refuse(error: object) -> int:
    print(f"mflux-port: {format_error(error)}", file=sys.stderr)
    return 2


def rendered_files(checkout: Path, model: str) -> list[Path]:
    """Every file of the port that exists: its package, its porting folder, its tests."""
    folders = [f"src/mflux/models/{model}", f"porting/{model}"]
    # This uses os alone, because pathlib takes four times as long.
    found = [place for folder in folders for place in os.walk(checkout / folder)]
    files = [path for place, _, names in found for name in names if (path := Path(place, name)).is_file()]
    tests = [checkout / name for name in rendered_tests(model)]
    return sorted([*files, *(path for path in tests if path.is_file())])


def _is_known(checkout: Path, model: str) -> bool:
    # A port that git tracks, or that was wired before, is somebody's work: it is never removed.
    if any((checkout / f"porting/{model}").glob("wiring.*")):
        return True
    from mflux_port.checkout.git import ask_git  # a successful copy does not need it

    return bool(ask_git(checkout, "ls-files", "--", f"porting/{model}", f"src/mflux/models/{model}"))


def _complete_cut_files(checkout: Path, model: str) -> None:
    # A killed copy may leave a truncated file, and the next copy would skip it if the porter owns it.
    names = [name for name in _names(checkout, model) if _may_be_cut(name)]
    cut = {name: text for name in names if not (text := (checkout / name).read_bytes()).endswith(b"\n")}
    fresh = _rendered(checkout, model, list(cut)) if cut and not _is_known(checkout, model) else {}
    whole = {name: text.encode() for name, text in fresh.items() if text.encode().startswith(cut[name])}
    if whole:
        with locked(checkout):
            commit(checkout, whole)


def _may_be_cut(name: str) -> bool:
    # Every file that the template renders ends with a newline, except empty `__init__.py` files.
    return name.endswith((".py", ".md", ".yml")) and (not name.endswith("__init__.py") or "_scheduler/" in name)


def _remove_rendered(checkout: Path, model: str) -> None:
    # Remove only files that are exactly as this copy rendered them: anything else is somebody's work.
    names = _names(checkout, model)
    fresh = _rendered(checkout, model, names)
    answers = ANSWERS.format(model=model)  # it contains the template's location, which differs
    for name in names if fresh else ():
        if name == answers or name in fresh and (checkout / name).read_bytes() == fresh[name].encode():
            (checkout / name).unlink()
    folders = {(checkout / name).parent for name in rendered_tests(model)}
    folders |= set((checkout / f"src/mflux/models/{model}").rglob("*"))
    folders |= set((checkout / f"porting/{model}").rglob("*"))
    folders |= {checkout / f"src/mflux/models/{model}", checkout / f"porting/{model}", checkout / "porting"}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _rendered(checkout: Path, model: str, names: list[str]) -> dict[str, str]:
    from mflux_port.port.changed_files import rendered_texts  # a successful copy does not need it

    try:
        return rendered_texts(checkout, model, names)
    except PortError:
        return {}  # then every file may be somebody's work


def _names(checkout: Path, model: str) -> list[str]:
    return [path.relative_to(checkout).as_posix() for path in rendered_files(checkout, model)]
