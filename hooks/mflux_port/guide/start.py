"""The steps of ``mflux-port start``: inspect, copy, then the next actions of ``status``, until a person is needed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.errors import PortError
from mflux_port.guide.action import Action
from mflux_port.guide.answers import (
    ANSWERS_FILE,
    answers_text,
    copy_has_begun,
    note_copy,
    read_answers,
    set_answers,
    verify_same_checkpoint,
)
from mflux_port.guide.next_action import next_action
from mflux_port.guide.port_status import PortStatus, is_small
from mflux_port.guide.prove_stage import FIRST_LOOK
from mflux_port.guide.request import Request
from mflux_port.guide.runner import Runner, copy_command, last_line
from mflux_port.port.answer_rules import answer_rules
from mflux_port.port.checkpoint_place import checkpoint_place, remember_checkpoint
from mflux_port.port.port import list_ports, load_port
from mflux_port.template.project import template_source

_LOOK_UP = re.compile(r"^# LOOK UP - (.*)$", re.MULTILINE)
_JUDGING, _FINDINGS = ("ledger", "compare"), 1  # commands that report findings, and with which exit code
Say = Callable[[str], None]


@dataclass
class Journey:
    """One run of ``start``. ``done`` has a step per command that ran: its name, command, seconds and exit code."""

    request: Request
    runner: Runner
    say: Say
    model: str = ""
    done: list[dict] = field(default_factory=list)
    last: subprocess.CompletedProcess | None = None

    def go(self) -> Action:
        """Run every step that does not need a person.

        Returns the next action; raises PortError when a command fails.
        """
        given = self.request.answers()
        self.model = "" if copy_has_begun(self._file) else existing_port(self.request)
        if not self.model:
            action = self._inspect(given)
            if action:
                return action
            self.copy()
        self._remember_checkpoint()
        return self._follow_status()

    @property
    def _file(self) -> Path:
        return self.request.root / ANSWERS_FILE

    def _inspect(self, given: dict) -> Action | None:
        request, file = self.request, self._file
        if not file.exists():
            request.verify_checkpoint()
            self._run("inspect", inspect_command(request, self.runner.python))
        elif request.repo and "hf_repo" not in read_answers(file):
            # Without the repo the answers lack the checkpoint's sizes, so they are read again.
            self._run("inspect", f"{inspect_command(request, self.runner.python)} --force")
        verify_same_checkpoint(file, request.place)
        self._verify_same_model(given)
        set_answers(file, given)
        return question(request, file)

    def _verify_same_model(self, given: dict) -> None:
        # Completing a copy overwrites files: those of the port that it began, and no others.
        begun = read_answers(self._file).get("model") if copy_has_begun(self._file) else None
        if begun and given.get("model", begun) != begun:
            way = self.request.again(model=begun)
            raise PortError(f"the copy of {begun} was interrupted; complete it first with: {way}")

    def copy(self) -> None:
        """Render and wire the port from the answers file, then remove that file.

        A copy that was interrupted is completed.
        """
        file, again = self._file, copy_has_begun(self._file)
        self.model = read_answers(file)["model"]
        note_copy(file, True)
        try:
            self._run("copy", copy_command(ANSWERS_FILE, self.request.template, again))
        except PortError:
            note_copy(file, False)  # it rolled back, so another name or other answers are possible again
            raise
        self._remember_checkpoint()
        file.unlink(missing_ok=True)

    def _remember_checkpoint(self) -> None:
        # A checkpoint that was moved is used from its new location.
        if self.request.checkpoint:
            remember_checkpoint(self.request.root, load_port(self.request.root, self.model), self.request.place)

    def _follow_status(self) -> Action:
        ran = ""
        while True:
            action = _next(self.request.root, self.model)
            if action.command == ran and self.done[-1]["code"]:
                raise self._stopped(_name(ran), self.last)
            # Stop after a comparison: there is something to read, and the next action may take hours at full size.
            if action.edit or not needs_no_person(action.command) or action.command == ran or "run_mflux.py" in ran:
                return action
            ran = action.command
            self._run(_name(ran), ran)

    def _run(self, name: str, command: str) -> None:
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        done = self.runner.run(command)
        seconds = time.monotonic() - started
        self.say(f"{name:<10}{seconds:7.1f} s  {command}")
        self.done.append({"step": name, "command": command, "seconds": round(seconds, 1), "code": done.returncode})
        self.last = done
        if done.returncode and not (name in _JUDGING and done.returncode == _FINDINGS):
            raise self._stopped(name, done)
        if name in _JUDGING:
            self.say(done.stdout.rstrip())

    def _stopped(self, name: str, done: subprocess.CompletedProcess) -> PortError:
        return PortError(f"{name} stopped: {last_line(done)}; then continue with: {self.request.again()}")


def planned(request: Request, python: str) -> list[dict]:
    """All commands of a new port, or the next one of an existing port; none of them is run."""
    model = existing_port(request)
    if model:
        action = _next(request.root, model)
        return [{"step": _name(action.command), "command": action.command}]
    request.verify_checkpoint()
    request.answers()
    model = request.model or "<model>"
    folder, given = f"porting/{model}", shlex.quote(request.checkpoint)
    local = (request.root / request.checkpoint).exists()
    small = is_small(request.root / request.checkpoint)
    ran = given if small else f"{folder}/artifacts/tiny"  # both sides run this
    tool = f"--with {shlex.quote(request.template or template_source())} mflux-port"
    steps = {
        "inspect": inspect_command(request, python),
        "copy": copy_command(ANSWERS_FILE, request.template),
        "twin": f"uv run {folder}/make_tiny_checkpoint.py{f' --model {given}' if local else ''}",
        "draft": f"uv run --with diffusers {tool} draft {model} --checkpoint {given} --pipeline {ran}",
        "ledger": f"uv run {tool} ledger {model}",
        "reference": f"uv run {folder}/run_reference.py --model {ran} --size {FIRST_LOOK}",
        "compare": f"uv run python {folder}/run_mflux.py",
    }
    return [{"step": name, "command": command} for name, command in steps.items() if not (small and name == "twin")]


def inspect_command(request: Request, python: str) -> str:
    """The command that writes the answers. It reads the pipeline's defaults from diffusers, which ``python`` has."""
    source = request.template or template_source()
    tool = "mflux-port" if python else f"uv run --with diffusers --with {shlex.quote(source)} mflux-port"
    repo = f" --repo {shlex.quote(request.repo)}" if request.repo else ""
    return f"{tool} inspect {shlex.quote(request.checkpoint)}{repo} -o {ANSWERS_FILE}"


def existing_port(request: Request) -> str:
    """The port that was started from this checkpoint, or the named one; empty when there is none yet."""
    known = list_ports(request.root)
    if request.model:
        return request.model if request.model in known else ""
    ports = [load_port(request.root, name) for name in known]
    return next(
        (port.model for port in ports if request.place in (port.hf_repo, checkpoint_place(request.root, port))), ""
    )


def question(request: Request, file: Path) -> Action | None:
    """The answers that only a person can give: a name, or a value that the checkpoint does not have."""
    text = answers_text(file)
    answers = read_answers(file)
    name = answers.get("model")
    is_copied = copy_has_begun(file)
    if not name or not is_copied and (request.root / f"src/mflux/models/{name}").exists():
        reason = f"mflux has {name} already; name the port" if name else "the checkpoint has no name"
        return Action(request.again(model=_free_name(request, answers)), reason)
    if "hf_repo" not in answers:
        return Action(request.again(repo="ORG/NAME"), "the Hugging Face repo of this folder is not known")
    open_values = _LOOK_UP.findall(text)
    if not open_values:
        return None
    reason = f"{len(open_values)} to look up, first: {open_values[0]}; correct each and delete its LOOK UP mark"
    return Action(request.again(), reason, ANSWERS_FILE)


def needs_no_person(command: str) -> bool:
    """Whether ``start`` may run the action of ``status``: a draft, a ledger, or a run of either side."""
    return command.startswith("uv run ") and " pytest " not in command and "<template>" not in command


def _free_name(request: Request, answers: dict) -> str:
    title = answers.get("display_name") or (request.repo or request.checkpoint).rpartition("/")[2]
    words = re.findall(r"[a-z0-9]+", str(title).lower())
    name = "_".join(words)
    fits = re.fullmatch(answer_rules()["model"]["pattern"], name)
    return name if fits and not (request.root / f"src/mflux/models/{name}").exists() else "NAME"


def _next(root: Path, model: str) -> Action:
    checkout = Checkout(root)
    return next_action(PortStatus(checkout, Facts(checkout), model))


def _name(command: str) -> str:
    for part, name in (
        ("make_tiny_checkpoint.py", "twin"),
        ("--modules", "modules"),
        ("run_reference.py", "reference"),
        ("run_mflux.py", "compare"),
        (" draft ", "draft"),
        (" ledger ", "ledger"),
    ):
        if part in command:
            return name
    return command.split()[0]
