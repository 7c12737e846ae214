"""What the template renders for a port, before and after an update: from its old version and its new one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mflux_port.checkout.git import NEUTRAL, PLAIN, ask_git, git_environment, reason
from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS, read_answers
from mflux_port.update.migrations import committed_answers


class Renderings(NamedTuple):
    """The files of a port by name, with LF line endings whatever git checks out, without the answers file.

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
    # Copier's validators know by the folder's name that it is not a checkout.
    scratch = Path(tempfile.mkdtemp(prefix="copier._main.rendered."))
    try:
        runs = [_Run(template, version, before, scratch / "old"), _Run(template, "HEAD", after, scratch / "new")]
        old, new = [run.files() for run in runs]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
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


class _Run:
    """Copier at work on one version, beside the other: rendering takes a second or two."""

    def __init__(self, template: Path, version: str, answers: dict, folder: Path):
        self._version, self._port = version, folder / "port"
        folder.mkdir()
        data, source = folder / "answers.yml", folder / "template"
        data.write_text(json.dumps(answers), encoding="utf-8")
        _export(template, version, source)
        command = [sys.executable, "-P", "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "--skip-tasks"]
        command += ["--data-file", str(data), str(source), str(self._port)]
        environment = git_environment(NEUTRAL | PLAIN)
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=environment, **streams)

    def files(self) -> dict[str, bytes]:
        """Wait for it and read what it rendered. Raises PortError with Copier's reason."""
        said = self._process.communicate()[1].decode("utf-8", "replace").strip()
        if self._process.returncode:
            last = said.splitlines()[-1] if said else f"exit code {self._process.returncode}"
            raise PortError(f"version {self._version} of the template does not render from the port's answers ({last})")
        files = [path for path in self._port.rglob("*") if path.is_file()]
        return {path.relative_to(self._port).as_posix(): lf(path.read_bytes()) for path in files}


def _export(template: Path, version: str, folder: Path) -> None:
    # As plain files: Copier clones what is in git, and a clone takes as long as rendering.
    folder.mkdir()
    environment = git_environment(NEUTRAL | PLAIN)
    environment |= {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(folder.with_name("index"))}
    command = ["git", "-C", str(template), "read-tree", "-m", "-u", version]
    done = subprocess.run(command, capture_output=True, env=environment)
    if done.returncode:
        raise PortError(f"version {version} of the template cannot be read ({reason(done.stderr)})")
