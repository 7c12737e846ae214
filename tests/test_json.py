"""Every command prints JSON with the documented fields. (In every other test, the fixture ``mflux_port`` looks at
them.)
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from mflux_port.cli import COMMANDS
from mflux_port.json_output import FIELDS

from tests.checks import complete_port
from tests.checks.complete_port import MODEL
from tests.conftest import PROJECT
from tests.json_forms import facts_of

FORMS = {
    "status": ["status"],
    "check": ["check", MODEL, "--merge"],
    "check --explain": ["check", "--explain", "REG01"],
    "wire": ["wire", MODEL],
    "wire --dry-run": ["wire", MODEL, "--dry-run"],
    "unwire --dry-run": ["unwire", MODEL, "--dry-run"],
    "finish": ["finish", MODEL, "--dry-run"],
    "start --dry-run": ["start", "acme/Vega", "--model", "vega", "--dry-run"],
    "unwire": ["unwire", MODEL],
}
# Forms that the tests of their commands print.
ELSEWHERE = ("start", "copy", "demo", "inspect", "inspect --sizes", "draft", "draft --dry-run", "ledger", "ledger --lora",
             "update", "update --restore")  # fmt: skip


@pytest.fixture(scope="module")
def root(pristine, tmp_path_factory) -> Path:
    return complete_port.render(shutil.copytree(pristine(), tmp_path_factory.mktemp("json") / "mflux"))


@pytest.mark.parametrize("form", FORMS)
def test_fields_are_documented(form, root, mflux_port):
    done = mflux_port(*FORMS[form], "--json", cwd=root)
    assert done.returncode in (0, 1), done.stderr
    facts_of(form, done.stdout)


def test_every_form_is_listed_and_tested():
    assert FIELDS.keys() == FORMS.keys() | set(ELSEWHERE)
    assert {form.split()[0] for form in FIELDS} == COMMANDS.keys()
    printed = {form for form, _ in _printed()}
    assert printed == FIELDS.keys() - {"wire", "unwire"}  # these two are printed by a function that both call


def test_the_source_prints_the_documented_fields():
    written = {form: {key.value for key in facts.keys} for form, facts in _printed() if isinstance(facts, ast.Dict)}
    assert len(written) >= 10
    assert written == {form: set(FIELDS[form]) for form in written}


def _printed() -> list[tuple[str, ast.expr]]:
    """Each form that a command prints, and the expression of what it prints."""
    sources = [ast.parse(path.read_text()) for path in (PROJECT / "hooks/mflux_port/commands").glob("*.py")]
    calls = [node for source in sources for node in ast.walk(source) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "id", "") in ("print_json", "print_diff")]
    return [(call.args[0].value, call.args[1]) for call in named if isinstance(call.args[0], ast.Constant)]
