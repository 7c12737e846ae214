"""Three ports, two orders, every release: each shared file is wired once, stays valid, and is restored."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port
from wiring_hosts import AMBER, NOVA, RELEASES, THREE, ZULU, port, shared_files, snapshot

ORDERS = {"there": (NOVA, AMBER, ZULU), "back": (ZULU, AMBER, NOVA)}
COMPLETIONS = "src/mflux/cli/completions/generator.py"


def _cases() -> list:
    cases = []
    for version in RELEASES:
        cases.append(pytest.param(version, "there"))
        # Both orders on the oldest and the newest release; CI tests both on every release.
        marks = () if version in ("0.18.1", "0.24.0") else pytest.mark.full
        cases.append(pytest.param(version, "back", marks=marks))
    return cases


@pytest.mark.parametrize(("version", "order"), _cases())
def test_three_ports_are_wired_and_unwired(version: str, order: str, checkout):
    root = checkout(version)
    ports = [port(answers) for answers in ORDERS[order]]
    untidy = _untidy(root)

    for one in ports:
        wiring.wire(Checkout(root), one)

    for one in ports:
        states = {name: result.state for name, result in wiring.states(Checkout(root), one).items()}
        assert set(states.values()) <= {"present", "not applicable"}, states
        _assert_wired_once(root, one, version)
    assert _untidy(root) <= untidy
    before = snapshot(root)
    for one in ports:
        wiring.wire(Checkout(root), one)
    assert snapshot(root) == before

    for one in ports:
        wiring.unwire(Checkout(root), one)
    assert _git(root, "status", "--porcelain") == ""


def _assert_wired_once(root: Path, one: Port, version: str) -> None:
    release = tuple(map(int, version.split(".")))
    for file in shared_files(one):
        path = root / file
        if path.suffix == ".py" and path.is_file():
            compile(path.read_bytes(), file, "exec")
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name: scripts.get(name) for name in one.scripts} == one.scripts
    _assert_registry(root, one)
    _assert_steps(root, one, chain=release < (0, 19))
    _assert_save(root, one, chain=release < (0, 19))
    if release <= (0, 19, 0):
        _assert_completions(root, one)
    if release >= (0, 23):
        pins = _literal(root / "src/mflux/models/common/resolution/model_revisions.py", "PINNED")
        assert {c.hf_repo: c.revision for c in one.checkpoints if c.revision}.items() <= pins.items()
    if release >= (0, 24):
        checker = (root / "src/mflux/models/common/checking/model_checker.py").read_text()
        assert checker.count(f"return {one.class_name}WeightDefinition") == 1
    _assert_training(root, one)
    readme = (root / "README.md").read_text()
    assert readme.count(f"](src/mflux/models/{one.model}/README.md)") == 1
    assert readme.count(f"- {one.hf_repo.split('/')[0]} for the [{one.display_name} project](") == 1
    assert (root / "CHANGELOG.md").read_text().count(f"- **{one.display_name}**:") == 1


def _assert_registry(root: Path, one: Port) -> None:
    tree = ast.parse((root / "src/mflux/models/common/config/model_config.py").read_bytes())
    table = _assigned(tree, "AVAILABLE_MODELS")
    keys = [key.value for key in table.keys]
    assert max(Counter(keys).values()) == 1
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelConfig")
    factories = Counter(node.name for node in owner.body if isinstance(node, ast.FunctionDef))
    for checkpoint in one.checkpoints:
        call = table.values[keys.index(checkpoint.key)]
        fields = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        assert fields["aliases"] == list(checkpoint.aliases)
        assert (fields["model_name"], fields["base_model"]) == (checkpoint.hf_repo, None)
        assert fields["supports_guidance"] == checkpoint.supports_guidance
        assert {name: fields[name] for name in checkpoint.config} == checkpoint.config
        assert factories[checkpoint.factory] == 1


def _assert_steps(root: Path, one: Port, chain: bool) -> None:
    tree = ast.parse((root / "src/mflux/cli/defaults/defaults.py").read_bytes())
    pairs = [(ast.literal_eval(k), ast.literal_eval(v)) for k, v in _pairs(_assigned(tree, "MODEL_INFERENCE_STEPS"))]
    names = {name: c.steps for c in one.checkpoints for name in (c.aliases if chain else (c.key,))}
    assert [pair for pair in sorted(pairs) if pair[0] in names] == sorted(names.items())
    if chain:
        choices = Counter(ast.literal_eval(_assigned(tree, "MODEL_CHOICES")))
        assert {name: choices[name] for name in names} == dict.fromkeys(names, 1)


def _assert_save(root: Path, one: Port, chain: bool) -> None:
    text = (root / "src/mflux/models/common/cli/save.py").read_text()
    for variant in {checkpoint.variant for checkpoint in one.checkpoints}:
        name = one.variant_class(variant)
        assert text.count(f"import {name}\n") == 1
        if chain:
            assert text.count(f"model_class = {name}\n") == 1
    if not chain:
        pairs = _pairs(_assigned(ast.parse(text), "MODEL_CLASSES"))
        found = sorted((key.value, value.id) for key, value in pairs)
        wanted = sorted((c.key, one.variant_class(c.variant)) for c in one.checkpoints)
        assert [pair for pair in found if pair[0] in dict(wanted)] == wanted


def _assert_completions(root: Path, one: Port) -> None:
    text = (root / COMPLETIONS).read_text()
    for name in one.scripts:
        assert text.count(f'                "{name}",\n') + text.count(f'            "{name}",\n') == 1
        assert text.count(f'elif command == "{name}":') == 1


def _assert_training(root: Path, one: Port) -> None:
    example = root / f"src/mflux/models/common/training/_example/train_{one.model}.json"
    runner = (root / "src/mflux/models/common/training/runner.py").read_text()
    listed = (root / ".gitignore").read_text().count(f"/train_{one.model}.json\n")
    assert (example.is_file(), listed) == (one.training, int(one.training))
    assert runner.count(f"adapter = {one.class_name}TrainingAdapter(\n") == int(one.training)
    if one.training:
        assert json.loads(example.read_text())["model"] in {checkpoint.key for checkpoint in one.checkpoints}


def test_sorted_tables_stay_sorted(shared):
    root = shared("0.22.0")
    for answers in THREE:
        wiring.wire(Checkout(root), port(answers))
    table = _assigned(ast.parse((root / "src/mflux/models/common/cli/save.py").read_bytes()), "MODEL_CLASSES")
    assert all(left.value < right.value for left, right in pairwise(table.keys))


def _untidy(root: Path) -> set[str]:
    # ruff, with mflux's settings, on the Python files that wiring changes.
    files = [file for file in shared_files() if file.endswith(".py") and (root / file).is_file()]
    ruff = str(Path(sys.executable).with_name("ruff"))
    check = subprocess.run(
        [ruff, "check", "--no-cache", "--output-format", "concise", *files], cwd=root, capture_output=True, text=True
    )
    layout = subprocess.run([ruff, "format", "--no-cache", "--check", *files], cwd=root, capture_output=True, text=True)
    assert check.returncode in (0, 1) and layout.returncode in (0, 1), check.stderr + layout.stderr
    lines = [*check.stdout.splitlines(), *layout.stdout.splitlines()]
    return {line for line in lines if line.startswith(("src/", "Would"))}


def _assigned(tree: ast.Module, name: str):
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(getattr(t, "id", None) == name for t in targets):
            return node.value
    raise AssertionError(f"{name} is not assigned")


def _literal(path: Path, name: str):
    return ast.literal_eval(_assigned(ast.parse(path.read_bytes()), name))


def _pairs(table: ast.Dict) -> list[tuple]:
    return list(zip(table.keys, table.values, strict=True))


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout
