"""Find the module that differs, with two recordings: all blocks, thinned out, then everything inside the wrong one."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from parity.answers import Answers
from parity.devices import LESS
from parity.errors import ParityError
from parity.record.calibration import gaps_of
from parity.record.recording import Recording

SCRIPT = "run_reference.py"
KILLED = f": as a rule the system had no memory left; {LESS}"


def settings(facts: dict) -> list[str]:
    """The flags with which ``run_reference.py`` repeats the run of a recording."""
    flags = ["--model", facts["model"], "--size", f"{facts['width']}x{facts['height']}", "--steps", str(facts["steps"])]
    flags += ["--seed", str(facts["seed"]), "--prompt", facts["prompt"], "--guidance", f"{facts['guidance']:g}"]
    if facts["negative_prompt"]:
        flags += ["--negative-prompt", facts["negative_prompt"]]
    if facts.get("images"):
        flags += ["--edit", *(path for path, _ in facts["images"])]
    for name, value in facts.get("call", {}).items():
        flags += ["--call", f"{name}={value}"]
    return flags


def is_of_run(path: Path, facts: dict) -> bool:
    """Whether ``path`` is a finished recording of the run with these facts: its settings, checkpoint and libraries."""
    try:
        recording = Recording(path)
        gaps_of(recording)
    except ParityError:
        return False
    known = recording.facts
    same = all(known.get(name) == facts[name] for name in ("checkpoint", "versions", "device"))
    return same and settings(known) == settings(facts)


def inside(facts: dict, module: str) -> list[str]:
    """The flags that record everything inside one module of the reference, in the run of a recording of its blocks."""
    return ["--module", module, *settings(facts)]


def sentence(flags: list[str]) -> str:
    """The command as text, to show to the user."""
    return shlex.join([SCRIPT, *flags])


def next_module(found, facts: dict) -> str:
    """The reference's module to look into next; empty if the finding is already a single module."""
    answer = found.findings.answer
    if answer is None or answer.kind != "module" or facts["level"] != "blocks":
        return ""
    parts = [name for name in facts["classes"] if name.startswith(f"{answer.reference}.")]
    return answer.reference if parts else ""


def run_reference(answers: Answers, flags: list[str], output: Path) -> Path:
    """Run the reference's script, where PyTorch is installed. Raises ParityError with its last line when it cannot."""
    print(f"running {sentence([*flags, '--output', str(output)])}", flush=True)
    here = all(importlib.util.find_spec(name) for name in ("torch", "diffusers"))
    if not here and not shutil.which("uv"):
        raise ParityError(f"{SCRIPT} needs uv or an environment with diffusers; run `{sentence(flags)}` yourself")
    start = [sys.executable] if here else ["uv", "run"]
    command = [*start, str(answers.home / SCRIPT), *flags, "--output", str(output)]
    done = subprocess.run(command, cwd=answers.home, stderr=subprocess.PIPE, text=True)
    if done.returncode < 0:
        number = -done.returncode
        raise ParityError(f"{sentence(flags)} was ended by signal {number}{KILLED * (number == 9)}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("parity: ")
        raise ParityError(f"{sentence(flags)} failed: {last}")
    return output
