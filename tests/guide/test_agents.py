"""The two texts for coding agents: every command in them runs, and every file that they name exists.

The two runners need torch and MLX, so their options are read from their source.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.checks import complete_port
from tests.checks.complete_port import MODEL
from tests.conftest import PROJECT

SKILL = PROJECT / "skills/mflux-model-porting/SKILL.md"
LONGEST = 90  # lines; it must be short, because an agent reads all of it each time
SCRIPTS = ("run_reference.py", "run_mflux.py", "make_tiny_checkpoint.py")


@pytest.fixture(scope="module")
def root(pristine, tmp_path_factory) -> Path:
    return complete_port.render(shutil.copytree(pristine(), tmp_path_factory.mktemp("agents") / "mflux"))


@pytest.fixture(params=["skill", "agents"])
def text(request, root) -> str:
    return (SKILL if request.param == "skill" else root / f"porting/{MODEL}/AGENTS.md").read_text()


def commands(text: str) -> list[str]:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    named = re.findall(r"`((?:mflux-port|uv run|git) [^`]+)`", text)
    known = {"<model>": MODEL, "<checkpoint>": "acme/Nova", "<repo>": "acme/Nova"}
    return [re.sub(r"<\w+>", lambda found: known[found[0]], line) for line in [*lines, *named]]


def test_the_texts_are_short(text):
    assert len(text.splitlines()) <= LONGEST


def test_every_command_runs(text, root, mflux_port):
    found = commands(text)
    assert len(found) >= 3
    for command in found:
        words = command.split()
        if words[0] == "mflux-port":
            # `start` would make a twin, which needs torch; `--dry-run` checks the same arguments.
            plan = ["--dry-run"] if words[1] == "start" else []
            done = mflux_port(*words[1:], *plan, cwd=root)
            assert done.returncode in (0, 1) and "Traceback" not in done.stderr, (command, done.stderr)
        elif words[0] == "uv":
            _verify_script(root, command)
        else:
            subprocess.run(words, cwd=root, check=True, capture_output=True)


def _verify_script(root: Path, command: str) -> None:
    path = re.search(r"porting/\S+\.py", command)
    if path is None:
        assert re.fullmatch(r"uv run python -m pytest tests -k \w+ -m fast", command), command
        return
    script = root / path[0]
    tree = ast.parse(script.read_text())
    options = {arg.value for node in ast.walk(tree) if isinstance(node, ast.Call) for arg in node.args
               if isinstance(arg, ast.Constant) and str(arg.value).startswith("--")}  # fmt: skip
    assert set(re.findall(r"--[a-z-]+", command)) <= options, command


def test_every_named_file_exists(root):
    text = (root / f"porting/{MODEL}/AGENTS.md").read_text()
    names = re.findall(r"`((?:src|tests|porting)/[^`\s]+)`", text)
    assert len(names) > 4
    assert [name for name in names if not (root / name).exists()] == []
    assert "<" not in re.sub(r"<[a-z]+>", "", text) and "{{" not in text


def test_skill_has_the_front_matter_that_agents_load():
    head = yaml.safe_load(SKILL.read_text().split("---")[1])
    assert head["name"] == SKILL.parent.name and 40 < len(head["description"]) < 400


def test_every_kind_of_verdict_is_explained():
    answers = (PROJECT / "template/porting/{{ model }}/parity/answers.py").read_text()
    said = re.search(r"PASS, FAIL.*= (.*?)  #", answers)[1]
    assert all(f"`{state}`" in SKILL.read_text() for state in re.findall(r'"([^"]+)"', said))
