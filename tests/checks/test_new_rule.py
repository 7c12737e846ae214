"""`docs/make.py new-rule` starts a rule: the tests fail until the rule is written, then they pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mflux_port.checks.engine.registry import GROUPS

from tests.checks.complete_port import MODEL, PROJECT

RULE = "hooks/mflux_port/checks/rules/layout.py"
EXAMPLES = "tests/checks/breaks/layout.py"
PAGE = "docs/checklist.md"
WRITTEN = {
    RULE: {
        "TODO: the files that the rule reads": "src/mflux/models/<model>/README.md",
        "TODO: what to do when the rule fails": "write a README",
        "TODO: what goes wrong without it": "nobody knows how to use the model",
        "todo_lay15": "package_has_a_readme",
        "TODO: what must be true": "The package has a README",
        'return failed("TODO: what was found")': 'return passed() if package.readme else failed("no README")',
    },
    EXAMPLES: {'Break("LAY15", todo)': 'Break("LAY15", remove(f"{PACKAGE}/README.md"))', " todo,": ""},
    PAGE: {"TODO: what the guide or an issue asks": "a README"},
}


def copied(folder: Path) -> Path:
    """A copy of the parts of this project that rules need."""
    for name in ("hooks", "docs", "tests", "components"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "copier.yml"):
        shutil.copy(PROJECT / name, folder)
    return folder


@pytest.fixture
def project(tmp_path) -> Path:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("unchanged"))


def python(project, *arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "hooks"), str(project / "docs")])}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def quick_tests(project) -> subprocess.CompletedProcess:
    """The tests of rules and checklist that need no mflux checkout."""
    wanted = "test_every or test_id"
    files = ["tests/checks/test_rules.py", "tests/checks/test_checklist_document.py"]
    return python(project, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-k", wanted, *files)


def test_a_started_rule_fails_until_it_is_written(project, rendered):
    done = python(project, "docs/make.py", "new-rule", "LAY15")
    assert done.returncode == 0, done.stderr
    for file in WRITTEN:
        line = next(line for line in done.stdout.splitlines() if file in line)
        number = int(line.split(":")[1].split()[0])
        assert "LAY15" in (project / file).read_text().splitlines()[number - 1]
    failing = quick_tests(project)
    assert failing.returncode == 1
    for message in (
        "LAY15 still has a TODO",
        "replace `todo` with a step that makes LAY15 fail",
        "write what the guide",
    ):
        assert message in failing.stdout

    for file, words in WRITTEN.items():
        text = (project / file).read_text()
        for old, new in words.items():
            assert text.count(old) >= 1, old
            text = text.replace(old, new)
        (project / file).write_text(text)
    passing = quick_tests(project)
    assert passing.returncode == 0, passing.stdout
    checked = python(project, "-m", "mflux_port", "check", MODEL, "--all", "--checkout", rendered)
    assert "ok    LAY15  The package has a README" in checked.stdout.splitlines(), checked.stderr


def test_new_rule_can_be_added_to_every_group(project):
    ids = [f"{group}99" for group in GROUPS]
    start = "import sys, pathlib, new_rule; [new_rule.add(pathlib.Path.cwd(), id) for id in sys.argv[1:]]"
    started = python(
        project, "-c", f"{start}; from mflux_port.checks.engine.registry import all_rules as r; print(*r())", *ids
    )
    assert set(ids) <= set(started.stdout.split()), started.stderr
    for command in (["check"], ["format", "--check"]):
        done = python(project, "-m", "ruff", *command, "hooks/mflux_port/checks", "tests/checks")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LAY01"], "LAY01 is taken, in checks/rules/layout.py; LAY15 is free"),
        (["STY01"], "STY01 is taken, in checks/rules/style.py; STY10 is free"),
        (["XYZ01"], "XYZ01 is not a rule id: use one of LAY, REG, "),
        (["lay15"], "lay15 is not a rule id"),
        (["LAY1"], "LAY1 is not a rule id"),
        (["LAY１５"], "LAY１５ is not a rule id"),
        ([], "new-rule LAY15"),
        (["LAY15", "LAY16"], "new-rule LAY15"),
    ],
)
def test_an_id_that_cannot_be_used_changes_nothing(unchanged, arguments, message):
    before = {path: path.read_bytes() for file in WRITTEN for path in [unchanged / file]}
    done = python(unchanged, "docs/make.py", "new-rule", *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before
