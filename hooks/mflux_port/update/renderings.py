"""Render a port from the old version of the template and from the new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout.git import NEUTRAL, PLAIN, ask_git, git_environment, reason
from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS, read_answers
from mflux_port.update.migrations import committed_answers


class Renderings(NamedTuple):
    """The files of a port by name, always with LF line endings, without the answers file.

    ``old`` is from the committed answers and the version that the port was last rendered from, ``new`` from the answers
    as they are now and the version of this update.
    """

    old: dict[str, bytes]
    new: dict[str, bytes]
    answers_changed: bool


def render_both(root: Path, model: str, template: Path, version: str) -> Renderings:
    """Render ``version`` of the template and the one that is checked out in the clone ``template``.

    Raises PortError when a version is not in the clone, or does not render from the port's answers.
    """
    before, after = _plain(committed_answers(root, model)), _plain(read_answers(root, model))
    if before == after and _commit(template, version) == _commit(template, "HEAD"):
        return Renderings({}, {}, False)
    with _compiling_once(), _without_git():
        old, new = _rendered(template, version, before), _rendered(template, "HEAD", after)
    for files in (old, new):
        files.pop(ANSWERS.format(model=model), None)
    return Renderings(old, new, before != after)


def lf(text: bytes) -> bytes:
    """Text with LF line endings."""
    return text.replace(b"\r\n", b"\n")


def _plain(answers: dict) -> dict:
    return {name: value for name, value in answers.items() if not name.startswith("_")}


def _commit(template: Path, version: str) -> bytes:
    return ask_git(template, "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}") or version.encode()


def _rendered(template: Path, version: str, answers: dict) -> dict[str, bytes]:
    import copier  # imported late: this runs in Copier's own interpreter
    import jinja2

    # From the folder's name, Copier's validators know that this is not a checkout.
    scratch = Path(tempfile.mkdtemp(prefix="copier._main.rendered."))
    source, port = scratch / "template", scratch / "port"
    try:
        _export(template, version, source)
        copier.run_copy(str(source), port, answers, defaults=True, quiet=True, unsafe=True, skip_tasks=True)
        files = [path for path in port.rglob("*") if path.is_file()]
        return {path.relative_to(port).as_posix(): lf(path.read_bytes()) for path in files}
    except (copier.errors.CopierError, jinja2.TemplateError, ValueError) as error:
        raise PortError(
            f"version {version} of the template does not render from the port's answers ({error})"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _compiling_once() -> Iterator[None]:
    # Copier compiles each part of each path again for every file, which takes most of the rendering time, and two
    # versions of the template have most files in common. Its `yield` tag still does its own work before and after each
    # call.
    import jinja2

    compiled, compile_source = {}, jinja2.Environment.compile

    def compile_once(self, source, name=None, filename=None, *arguments, **options):
        syntax = (self.lexer, self.autoescape, *self.extensions)  # environments with the same syntax share a lexer
        text = self.preprocess(source) if isinstance(source, str) else source
        key = (syntax, text, name, arguments, tuple(options.items()))
        if key not in compiled:
            compiled[key] = compile_source(self, source, name, filename, *arguments, **options)
        return compiled[key]

    jinja2.Environment.compile = compile_once
    try:
        yield
    finally:
        jinja2.Environment.compile = compile_source


@contextmanager
def _without_git() -> Iterator[None]:
    # If git is installed, Copier runs it for every file to find out whether the folder's repository supports file
    # modes. These folders are in no repository.
    from plumbum import local

    with local.env(PATH=os.devnull):
        yield


def _export(template: Path, version: str, folder: Path) -> None:
    # Plain files: Copier clones what is in git, and a clone takes as long as rendering.
    folder.mkdir()
    environment = git_environment(NEUTRAL | PLAIN)
    environment |= {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(folder.with_name("index"))}
    command = ["git", "-C", str(template), "read-tree", "-m", "-u", version]
    done = subprocess.run(command, capture_output=True, env=environment)
    if done.returncode:
        raise PortError(f"version {version} of the template cannot be read ({reason(done.stderr)})")
