"""Files in an unusual form give failing rows at worst, never an error inside a rule."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.rule import FAIL, MERGE, PASS
from mflux_port.checks.engine.run_rules import check, failures

from tests.checks import complete_port
from tests.checks.breaking import append, both, remove, replace, write
from tests.checks.complete_port import MODEL
from tests.checks.paths import (
    CHECKER,
    CLI,
    CONFIG,
    DEFAULTS,
    DEFINITION,
    EXAMPLE,
    FEED_FORWARD,
    OVERLAY,
    README,
    REVISIONS,
    RUNNER,
    SAVE,
    SAVER,
    VARIANT,
)
from tests.checks.test_rules import answer
from tests.checks.tree import Tree

_ROW = re.compile(r"^.*\(src/mflux/models/nova/README\.md\).*$", re.MULTILINE)


def computed_tables(tree: Tree) -> None:
    """Values that only a run of mflux could compute."""
    tree.replace(DEFAULTS, '"dev": 25,', '**{"dev": DEFAULT_INFERENCE_STEPS},')
    tree.replace(DEFAULTS, '"nova-base": 40,', '"nova-base": STEPS, KEY: 40,')
    text = (tree.root / SAVE).read_text()
    tree.write(SAVE, re.sub(r"(UNSUPPORTED_MODELS[^=]*= \{)", r'\1\n    "nova-base": str(1), **MORE,', text))
    tree.replace(CONFIG, 'aliases=["nova-turbo", "nova"]', "aliases=NAMES")
    tree.replace(CONFIG, 'model_name="acme/Nova-Base"', "model_name=REPO")
    tree.replace(CONFIG, 'return AVAILABLE_MODELS["nova-base"]', "pass")
    tree.replace(DEFINITION, 'download_patterns=["tokenizer/*"]', "download_patterns=PATTERNS")
    tree.replace(DEFINITION, 'hf_subdir="transformer"', "hf_subdir=FOLDER")
    tree.append(VARIANT, "\n\ndef f(a):\n    a.prompt_cache['x']['y'] = 1\n")


def other_types(tree: Tree) -> None:
    """Tables, rows and files with values of other types."""
    tree.write("README.md", _ROW.sub("|[Nova](src/mflux/models/nova/README.md) | a | b |", _text(tree, "README.md")))
    tree.write(EXAMPLE, json.dumps({"model": "nova-turbo", "lora_layers": ["a"]}))
    tree.replace(CONFIG, 'aliases=["nova-turbo", "nova"]', 'aliases="nova-turbo"')
    tree.write(OVERLAY, "OVERLAY = []\n")
    tree.write(REVISIONS, "PINNED = dict(a=1)\n")
    tree.write(CHECKER, "x = 1\n")
    tree.replace(README, "model = Nova(", "model = = Nova(")
    tree.replace(CLI, "        args=args,\n        model=model,\n", "        **arguments,\n")
    tree.append(FEED_FORWARD, f"\nX = {'(' * 90}1{')' * 90}\n")


PARTS = {
    "computed": computed_tables,
    "other types": other_types,
    "not there": remove("README.md", RUNNER, ".gitignore", "src/mflux/cli/parser/parsers.py", SAVER),
    "no Python": both(write(CLI, ""), write(FEED_FORWARD, "x = 1\x00\n"), write(VARIANT, "def (:\n")),
}


def _text(tree: Tree, name: str) -> str:
    return (tree.root / name).read_text()


@pytest.mark.parametrize("part", PARTS)
def test_no_rule_has_an_error(tree, part):
    PARTS[part](tree)
    rows = failures(check(Checkout(tree.root), [MODEL], {MERGE}))
    assert rows and [row for row in rows if "cannot read what it found" in row.detail] == []


def test_array_of_scripts_gives_one_line(mflux_port, tree):
    tree.replace("pyproject.toml", "[project.scripts]", "[[project.scripts]]")
    done = mflux_port("check", MODEL, cwd=tree.root)
    assert "Traceback" not in done.stderr and done.returncode in (1, 2)


def test_reason_in_porting_md_is_enough(tree):
    append("src/mflux/utils/metadata_reader.py", "# more\n")(tree)
    assert answer(tree.root, "MRG08").state == FAIL
    append("porting/nova/PORTING.md", "\n- `src/mflux/utils/metadata_reader.py`: reads the new field\n")(tree)
    assert answer(tree.root, "MRG08").state == PASS


@pytest.fixture(scope="module")
def old(tmp_path_factory, pristine):
    """The port in mflux 0.18.1, which keeps choices and completions in lists and saves with an if/elif chain."""
    return complete_port.render(shutil.copytree(pristine("0.18.1"), tmp_path_factory.mktemp("old") / "mflux"))


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ("TAB03", replace(DEFAULTS, '    "nova-edit",\n', "")),
        ("TAB05", replace("src/mflux/cli/completions/generator.py", '"mflux-generate-nova-edit"', '"mflux-other"')),
        ("REG12", replace(SAVE, "from mflux.models.nova.", "from mflux.models.nova_two.")),
        ("TAB11", replace(VARIANT, "def save_model(", "def keep(")),
    ],
)
def test_rules_run_on_an_old_release(old, rule, step):
    tree = Tree(old)
    assert answer(old, rule).state == PASS
    try:
        step(tree)
        assert answer(old, rule).state == FAIL
    finally:
        tree.restore()
