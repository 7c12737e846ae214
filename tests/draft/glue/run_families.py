"""Ports of several families, from configs to the table of stages, with no line written by hand.

Run it with ``python -m tests.draft.glue.run_families FOLDER [FAMILY ...]``; each family takes minutes. Next to each
result it prints what ``unresolved.yml`` lists, the first error, and the result of the rendered fast tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml
from mflux_port.checkout import releases

from tests.conftest import PROJECT
from tests.draft.glue.references import REFERENCES
from tests.parity.families import FAMILIES, write_scripts
from tests.parity.other_references import OTHERS

EVERY = {**FAMILIES, **OTHERS, **REFERENCES}
PORT = "nova_image"
_ROW = re.compile(r"^(\w+ +(pass|FAIL|not ported|not run|waived)\b.*)$", re.MULTILINE)


class Run:
    """One family in ``folder``: each step writes its output to ``<step>.log`` there."""

    def __init__(self, name: str, folder: Path, skipped: list[str]):
        self.name, self.folder, self.skipped = name, folder, skipped
        self.python = releases.environment(releases.NEWEST, ("diffusers==0.42.*",))
        self.root = folder / "mflux"
        self.snapshot = folder / "hub/models--acme--Nova-Image/snapshots" / ("0" * 40)
        self.tiny = folder / "tiny"
        self.own = self.root / ".venv/bin/python"

    def go(self) -> list[str]:
        """Every step up to the first that fails; returns the lines of the result."""
        steps = [self.headers, self.copy, self.twin, self.draft, self.ledger, self.check, self.stages, self.tests]
        for step in [step for step in steps if step.__name__ not in self.skipped]:
            started = time.monotonic()
            code, said = step()
            (self.folder / f"{step.__name__}.log").write_text(said)
            yield f"  {step.__name__:<8}{time.monotonic() - started:5.0f} s  {_result(step.__name__, code, said)}"
            if code and step in steps[:4]:
                return
            if step == self.draft:
                yield from self._unresolved()

    def headers(self) -> tuple[int, str]:
        home = write_scripts(self.name, EVERY[self.name], "Any", self.folder)
        shutil.copytree(home / "reference", self.snapshot)
        return self._run(self.python, Path(__file__).with_name("write_headers.py"), self.snapshot, home)

    def copy(self) -> tuple[int, str]:
        releases.checkout(releases.NEWEST, self.root)
        file = self.folder / "answers.yml"
        code, said = self._run(self.python, "-m", "mflux_port", "inspect", self.snapshot, "-o", file)
        if code:
            return code, said
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"model": PORT}))
        command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "--vcs-ref", "HEAD"]
        code, said = self._run(*command, "--data-file", file, PROJECT, self.root)
        releases.install(self.root, self.python)
        releases.commit(self.root, "Copied")
        self._git("tag", "copied")
        return code, said

    def twin(self) -> tuple[int, str]:
        script = self.root / "porting" / PORT / "make_tiny_checkpoint.py"
        return self._run(self.own, script, "--model", self.snapshot, "--output", self.tiny)

    def draft(self) -> tuple[int, str]:
        self._git("reset", "--quiet", "--hard", "copied")
        done = self._port("draft", PORT, "--checkpoint", self.snapshot, "--pipeline", self.tiny)
        releases.commit(self.root, "Drafted")
        return done

    def ledger(self) -> tuple[int, str]:
        return self._port("ledger", PORT, "--checkpoint", self.snapshot)

    def check(self) -> tuple[int, str]:
        return self._port("check", PORT)

    def tests(self) -> tuple[int, str]:
        options = "-q -rs -o addopts= -o faulthandler_timeout=90 -m fast --tb=short -k".split()
        place = ["--basetemp", self.folder / "scratch"]  # otherwise pytest first removes the folders of other runs
        return self._run(self.own, "-m", "pytest", *place, *options, PORT, "tests", cwd=self.root)

    def stages(self) -> tuple[int, str]:
        home = self.root / "porting" / PORT
        size = ["--size", "128x192" if self.name == "hunyuan_image" else "64x96", "--steps", 2]
        code, said = self._run(self.own, "run_reference.py", "--model", self.tiny, *size, cwd=home)
        return (code, said) if code else self._run(self.own, "run_mflux.py", cwd=home)

    def _unresolved(self) -> list[str]:
        path = self.root / "porting" / PORT / "unresolved.yml"
        entries = yaml.safe_load(path.read_text()) if path.is_file() else []
        entries = entries if isinstance(entries, list) else [entries]
        return [f"      open: {json.dumps(entry)[:300]}" for entry in entries]

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.root), *arguments], check=True)

    def _port(self, *arguments: object) -> tuple[int, str]:
        return self._run(self.own, "-m", "mflux_port", *arguments, cwd=self.root)

    def _run(self, *command: object, cwd: Path | None = None) -> tuple[int, str]:
        variables = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def _result(step: str, code: int, said: str) -> str:
    lines = said.strip().splitlines() or [""]
    if step == "tests":  # a slow machine also prints where a test was after 90 seconds
        lines = [
            line for line in lines if line.startswith(("FAILED", "ERROR")) or re.search(r"\d (passed|failed)", line)
        ] or lines
    rows = _ROW.findall(said) if step == "stages" else []
    if rows:
        failed = [f"\n      {line[:180]}" for line, status in rows if status != "pass"]
        return f"{len(rows) - len(failed)} of {len(rows)} stages pass{''.join(failed)}"
    return "ok: " + lines[-1][:200] if code == 0 else f"exit {code}: " + " | ".join(lines[-4:])[:900]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("families", nargs="*", default=list(EVERY), metavar="FAMILY")
    parser.add_argument(
        "--skip", nargs="*", default=[], metavar="STEP", help="such as tests, or headers copy twin to draft again"
    )
    args = parser.parse_args()
    for name in args.families:
        print(name, flush=True)
        place = args.folder / name
        if "headers" not in args.skip:  # otherwise it reuses the folder of an earlier run
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        for line in Run(name, place, args.skip).go():
            print(line, flush=True)


if __name__ == "__main__":
    main()
