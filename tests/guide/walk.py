"""A porter who does only what ``status`` says, in a real checkout.

Commands that need torch or MLX are simulated here.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from mflux_port import cli
from mflux_port.checkpoint.keylist import KEYLIST
from mflux_port.checks.engine.evidence import CLAIM_FLAGS, STAGES
from mflux_port.draft.write.unresolved import UNRESOLVED
from mflux_port.port.guide_boxes import DRAFT_BOX, LEDGER_BOX, set_box
from mflux_port.port.last_result import COMPARISON, LEDGER, write_result
from mflux_port.port.port import load_port

from tests.checks import complete_port
from tests.checks.complete_port import MODEL, PACKAGE, git

GUIDE = f"porting/{MODEL}/PORTING.md"
ARTIFACTS = f"porting/{MODEL}/artifacts"
WRONG = ("transformer", "text_encoder")  # stages that a person has to write


class Walk:
    """``taken`` has the actions in order. ``wrong`` are the stages whose code still has an error."""

    def __init__(self, root: Path):
        self.root = root
        self.wrong = set(WRONG)
        self.mapped = False
        self.taken: list[dict] = []

    def run(self, most: int = 80) -> None:
        """Do what ``status`` says until it says that nothing is left."""
        while action := self.next():
            self.taken.append(action)
            assert len(self.taken) < most, [one["command"] for one in self.taken[-6:]]
            before = self._print()
            if action["edit"]:
                self.edit(action)
            for command in action["command"].split(" && "):
                self.type(command)
            assert self._print() != before, f"nothing changed: {action}"

    def next(self) -> dict | None:
        printed = self._mflux_port("status", MODEL, "--json")
        return json.loads(printed)["ports"][0]["next"]

    def edit(self, action: dict) -> None:
        """Do what a person does when no command can continue."""
        name, reason = action["edit"], action["reason"]
        assert (self.root / name).exists(), action
        if name.endswith("unresolved.yml"):
            (self.root / name).unlink()
        elif name.endswith("weight_mapping.py"):
            self.mapped = True
            self._append(name)
        elif re.match(r"[A-Z]{3}\d\d ", reason):
            _fix(self.root, reason[:5], name)
        else:
            stage = reason.partition(":")[0].split()[0]
            self.wrong.remove(stage)
            self._append(f"{PACKAGE}/model/{MODEL}_transformer/transformer.py")

    def type(self, command: str) -> None:
        """Run a command, or simulate what it does."""
        for part, play in PLAYS.items():
            if part in command:
                play(self, command)
                return
        if command.startswith("mflux-port "):
            self._mflux_port(*command.split()[1:])
        else:
            subprocess.run(command, shell=True, cwd=self.root, check=True, capture_output=True)

    def make_twin(self, command: str) -> None:
        self._write(f"{ARTIFACTS}/tiny/sizes.json", "{}")

    def draft(self, command: str) -> None:
        self._parsed(command)
        self._write(KEYLIST.format(model=MODEL), "# acme/Nova\n")
        entry = '- {component: transformer, name: "blocks.0", why: "two layers fit", candidates: [Linear, Conv1d]}\n'
        self._write(UNRESOLVED.format(model=MODEL), entry)
        set_box(self.root, load_port(self.root, MODEL), DRAFT_BOX, True)

    def ledger(self, command: str) -> None:
        self._parsed(command)
        set_box(self.root, load_port(self.root, MODEL), LEDGER_BOX, self.mapped)
        found = [] if self.mapped else ["transformer blocks.0.weight (not mapped: no target takes this tensor)"]
        write_result(self.root / LEDGER.format(model=MODEL), {"passed": self.mapped, "open": found})

    def record(self, command: str) -> None:
        level = "modules" if "--modules" in command else "reference"
        self._write(f"{ARTIFACTS}/{level}.safetensors", command)

    def compare(self, command: str) -> None:
        claims = [claim for claim, flag in CLAIM_FLAGS.items() if flag in command]
        if claims:
            self._tick([{"stage": claim, "status": "pass"} for claim in claims], "float32")
            return
        asked = re.search(r"--stage (\w+)", command)
        stages = [asked[1]] if asked else list(STAGES)
        dtype = "bfloat16" if "bfloat16" in command else "float32"
        bisected = "--bisect" in command
        results = [{"stage": s, "status": "FAIL" if s in self.wrong else "pass", "note": ""} for s in stages]
        failed = [result["stage"] for result in results if result["status"] == "FAIL"]
        report = {"dtype": dtype, "stages": results, "bisect": bool(failed) and not bisected}
        report["answer"] = (
            f"{failed[0]}: {failed[0]}.blocks.0 [Block]; the eps of a norm" if failed and bisected else ""
        )
        if not bisected:
            self._tick(results, dtype)
        write_result(self.root / COMPARISON.format(model=MODEL), report)

    def _tick(self, results: list[dict], dtype: str) -> None:
        figures = complete_port.FIGURES.format(commit=self._commit())
        lines = (self.root / GUIDE).read_text().splitlines()
        for result in results if dtype == "float32" else [{"stage": "bfloat16", "status": results[0]["status"]}]:
            mark = f"<!-- evidence: {result['stage']} -->"
            passed = result["status"] == "pass"
            said = figures if dtype == "float32" else f"worst loop {figures.replace('float32', dtype)}"
            at = next(n for n, line in enumerate(lines) if mark in line)
            text = lines[at].partition(mark)[0].replace("[x]", "[ ]")
            lines[at] = f"{text.replace('[ ]', '[x]') if passed else text}{mark} {'' if passed else 'FAIL '}{said}"
        (self.root / GUIDE).write_text("\n".join(lines) + "\n")

    def _commit(self) -> str:
        changed = git(self.root, "status", "--porcelain", "--", "src")
        return git(self.root, "rev-parse", "--short", "HEAD") + ("+" if changed else "")

    def _append(self, name: str) -> None:
        path = self.root / name
        path.write_text(path.read_text() + f"# {len(self.taken)}\n")

    def _write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def _parsed(self, command: str) -> None:
        words = command.partition(" mflux-port ")[2].split()
        cli._parser(words[0]).parse_args(words[1:])

    def _mflux_port(self, *arguments: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            cli.main([*arguments, "--checkout", str(self.root)])
        return out.getvalue()

    def _print(self) -> dict:
        # A digest of every file, ignored ones too, and of git's branches.
        files = [
            Path(folder, name) for folder, _, names in os.walk(self.root) for name in names if ".git/" not in folder
        ]
        return {path: path.stat().st_mtime_ns for path in files} | {"git": git(self.root, "log", "--all", "--oneline"),
                "branch": git(self.root, "branch"), "index": git(self.root, "status", "--porcelain")}  # fmt: skip


PLAYS: dict[str, Callable[[Walk, str], None]] = {
    "make_tiny_checkpoint.py": Walk.make_twin,
    "run_reference.py": Walk.record,
    "run_mflux.py": Walk.compare,
    " mflux-port draft ": Walk.draft,
    " mflux-port ledger ": Walk.ledger,
    "mflux-port check ": lambda walk, command: None,  # only reads
    "mflux-port status ": lambda walk, command: None,
}


def _tick_the_rest(root: Path) -> None:
    lines = (root / GUIDE).read_text().splitlines()
    ticked = [line if "<!-- evidence:" in line else line.replace("- [ ]", "- [x]") for line in lines]
    (root / GUIDE).write_text("\n".join(ticked) + "\n")


def _pictures(root: Path) -> None:
    for name in ("src/mflux/assets/nova.jpg", *complete_port.REFERENCES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(complete_port.PNG)
        git(root, "add", "--force", name)


def _fix(root: Path, rule: str, file: str) -> None:
    """Do what a person does for a failing row."""
    if rule in ("TST04", "TST05", "DOC16"):
        _pictures(root)
    elif rule == "MRG02":
        _tick_the_rest(root)
    elif file == "README.md":
        complete_port._fill_root_readme(root / file)
    else:
        complete_port._fill_readme(root / f"{PACKAGE}/README.md")
