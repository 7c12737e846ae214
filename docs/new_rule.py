"""Start a rule: its function, its failing example and its row in the checklist, each with a TODO
that the tests report.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from mflux_port.checks.engine.registry import GROUPS

_FUNCTION = '''

@rule(
    "{id}",
    looks_at="TODO: the files that the rule reads",
    fix="TODO: what to do when the rule fails",
    why="TODO: what goes wrong without it",
)
def todo_{name}(package: Package) -> Verdict:
    """TODO: what must be true"""
    return failed("TODO: what was found")
'''
_EXAMPLE = '    Break("{id}", todo),'
_ROW = "| TODO: what the guide or an issue asks | {id} |"


def add(project: Path, id: str) -> list[str]:
    """Write the three parts of the rule ``id``.

    Returns a line per part. Raises ValueError for an id that cannot be used.
    """
    if not re.fullmatch(r"[A-Z]{3}[0-9]{2}", id) or id[:3] not in GROUPS:
        raise ValueError(f"{id} is not a rule id: use one of {', '.join(GROUPS)} and two digits")
    module = GROUPS[id[:3]]
    parts = {
        f"hooks/mflux_port/checks/rules/{module}.py": (_with_function, "what the rule checks, and its texts"),
        f"tests/checks/breaks/{module}.py": (_with_example, "a step that makes it fail on the complete port"),
        "docs/checklist.md": (_with_row, "the row of the guide that it covers"),
    }
    texts = {name: write((project / name).read_text(encoding="utf-8"), id) for name, (write, _) in parts.items()}
    for name, text in texts.items():
        (project / name).write_text(text, encoding="utf-8")
    _format(*(project / name for name in parts if name.endswith(".py")))
    return [f"{name}:{_line(project / name, id)}  {what}" for name, (_, what) in parts.items()]


def _with_function(text: str, id: str) -> str:
    """The rules' module with the new function after its last rule. Raises ValueError when it already has the id."""
    rules = {_id(node): node for node in ast.parse(text).body if _id(node)}
    if id in rules:
        free = next(name for number in range(1, 100) if (name := f"{id[:3]}{number:02}") not in rules)
        raise ValueError(f"{id} is taken, in checks/rules/{GROUPS[id[:3]]}.py; {free} is free")
    last = max(node.end_lineno for node in rules.values())
    lines = text.splitlines()
    lines[last:last] = _FUNCTION.format(id=id, name=id.lower()).splitlines()
    return _importing("\n".join(lines) + "\n", "mflux_port.checks.engine.rule", "failed")


def _id(node: ast.stmt) -> str:
    """The id of a rule's function; empty for anything else."""
    found = (call for call in getattr(node, "decorator_list", []) if isinstance(call, ast.Call) and call.args)
    return next((call.args[0].value for call in found if ast.unparse(call.func) == "rule"), "")


def _with_example(text: str, id: str) -> str:
    """The examples' module with one more entry at the end of BREAKS."""
    table = next(
        node for node in ast.parse(text).body if isinstance(node, ast.Assign) and node.targets[0].id == "BREAKS"
    )
    lines = text.splitlines()
    lines.insert(table.end_lineno - 1, _EXAMPLE.format(id=id))
    return _importing("\n".join(lines) + "\n", "tests.checks.breaking", "todo")


def _with_row(text: str, id: str) -> str:
    """The checklist with one more row, in the table that has the group's first row."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if re.search(rf"\| .*\b{id[:3]}\d\d\b.*\|$", line))
    end = next(number for number in range(first, len(lines)) if not lines[number].startswith("|"))
    lines.insert(end, _ROW.format(id=id))
    return "\n".join(lines) + "\n"


def _importing(text: str, module: str, name: str) -> str:
    """``text`` with ``name`` imported from ``module``, from which it already imports."""
    found = re.search(rf"^from {re.escape(module)} import (\([^)]*\)|.*)$", text, re.MULTILINE)
    if name in re.findall(r"\w+", found[1]):
        return text
    return f"{text[: found.end()]}\nfrom {module} import {name}{text[found.end() :]}"


def _format(*files: Path) -> None:
    for command in (["check", "--fix", "--select", "I"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", *map(str, files)], check=True)


def _line(path: Path, id: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if id in line)
