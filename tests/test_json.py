"""Every command prints JSON with the documented fields. (The tests of draft, ledger, update and demo check theirs.)"""

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
# Forms that the tests of their commands compare with the list.
ELSEWHERE = ("start", "copy", "demo", "inspect", "inspect --sizes", "draft", "draft --dry-run", "ledger", "ledger --lora",
             "update", "update --restore")  # fmt: skip


@pytest.fixture(scope="module")
def root(pristine, tmp_path_factory) -> Path:
    return complete_port.render(shutil.copytree(pristine(), tmp_path_factory.mktemp("json") / "mflux"))


@pytest.mark.parametrize("form", FORMS)
def test_fields_of(form, root, mflux_port):
    done = mflux_port(*FORMS[form], "--json", cwd=root)
    assert done.returncode in (0, 1), done.stderr
    facts_of(form, done.stdout)


def test_every_form_is_listed_and_tested():
    assert FIELDS.keys() == FORMS.keys() | set(ELSEWHERE)
    assert {form.split()[0] for form in FIELDS} == COMMANDS.keys()
    printed = {form for path in (PROJECT / "hooks/mflux_port/commands").glob("*.py") for form in _printed(path)}
    assert printed == FIELDS.keys() - {"wire", "unwire"}  # one function prints both


def _printed(path: Path) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "id", "") in ("print_json", "print_diff")]
    return {call.args[0].value for call in named if isinstance(call.args[0], ast.Constant)}
