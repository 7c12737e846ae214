"""RUN: the rules that ``check --run`` executes, in the environment where mflux is installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mflux_port
from mflux_port.checks.engine import reasons
from mflux_port.checks.engine.environment import last_line, python_of, run
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import RUN, Verdict, failed, not_applicable, passed, rule

_PINNED = "0.16.3"
_WORKFLOWS = (".github/workflows/tests.yml", ".pre-commit-config.yaml", "pyproject.toml", "justfile", "Makefile")


@rule(
    "RUN01",
    looks_at="src/mflux/models/<model>/ and the port's tests",
    fix="uvx ruff@<version> check --fix, then ruff format",
    why="mflux's CI fails on the first finding of its pinned ruff",
    when=RUN,
)
def ruff_passes(package: Package) -> Verdict:
    """ruff passes, in the version that mflux pins"""
    paths = [package.folder, *package.tests]
    for command in (["check"], ["format", "--check"]):
        done = run([*_ruff(package), *command, *paths], package.facts.root)
        if done.returncode:
            return failed(f"ruff {command[0]}: {last_line(done)}")
    return passed(f"ruff {_version(package)}")


@rule(
    "RUN02",
    looks_at="tests/",
    fix="fix the test",
    why="the fast tests lock the port's behavior",
    only=reasons.has_answers,
    when=RUN,
)
def fast_tests_pass(package: Package) -> Verdict:
    """The port's fast tests pass"""
    command = [
        python_of(package.facts),
        "-m",
        "pytest",
        "-q",
        "--maxfail=5",
        "-o",
        "addopts=",
        "-m",
        "fast",
        *_test_files(package),
    ]
    done = run(command, package.facts.root)
    return passed(last_line(done)) if done.returncode == 0 else failed(last_line(done))


@rule(
    "RUN03",
    looks_at="mflux-save and the tests' tiny checkpoint",
    fix="check the component's definition and the class in save.py",
    why="saved models lacked weights, without an error (guide: save, load from the local path, generate; #405, #603)",
    only=reasons.has_answers,
    when=RUN,
)
def saved_model_generates(package: Package) -> Verdict:
    """mflux-save writes a quantized copy with every component and its index, and the copy generates an image"""
    import tempfile

    helper = f"tests/image_generation/helpers/tiny_{package.model}_checkpoint.py"
    if not package.facts.exists(helper):
        return not_applicable(f"{helper} is not there")
    checkpoint = next(c for c in package.port.checkpoints if c.variant != "edit")
    names = [package.model, checkpoint.key, package.port.variant_module("txt2img"), package.port.class_name]
    with tempfile.TemporaryDirectory() as scratch:
        done = run([python_of(package.facts), "-c", _ROUND_TRIP, *names, scratch], package.facts.root)
        if done.returncode:
            return failed(last_line(done))
        saved = sorted(path.parent.name for path in Path(scratch, "saved").rglob("*.index.json"))
        lacking = sorted({"vae", "transformer", "text_encoder"} - set(saved))
        return failed(f"no index for {', '.join(lacking)}") if lacking else passed(", ".join(saved))


@rule(
    "RUN04",
    looks_at="porting/<model>/checkpoint_keys.txt, the mapping and the modules",
    fix="mflux-port ledger <model> names what is open; map it, or waive it with a reason in waivers.yml",
    why="a module that keeps its random initial weights gives noise, or slightly wrong images (#707)",
    when=RUN,
)
def ledger_balances(package: Package) -> Verdict:
    """The checkpoint's stored key list matches the port's modules"""
    keys = f"porting/{package.model}/checkpoint_keys.txt"
    if not package.facts.exists(keys):
        return not_applicable(f"{keys} is missing; mflux-port ledger <model> --checkpoint <folder> writes it")
    done = run(
        [python_of(package.facts), "-c", _LEDGER, str(Path(mflux_port.__file__).parents[1]), package.model],
        package.facts.root,
    )
    if done.returncode == 0:
        return passed("every tensor is used once, every parameter is set once")
    problems = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    return failed("; ".join(problems) or last_line(done))


_LEDGER = """
import sys
sys.path.append(sys.argv[1])
from mflux_port.cli import main
sys.exit(main(["ledger", sys.argv[2], "--dry-run"]))
"""


# Runs mflux-save on the tiny checkpoint, whose sizes replace the registry's; then loads the copy and generates an
# image.
_ROUND_TRIP = """
import importlib, sys
model, key, module, name, scratch = sys.argv[1:]
helper = importlib.import_module(f"tests.image_generation.helpers.tiny_{model}_checkpoint")
tiny = next(value for name, value in vars(helper).items() if name.startswith("Tiny") and hasattr(value, "write"))
tiny.write(__import__("pathlib").Path(scratch) / "source")
from mflux.models.common.config import model_config
model_config.AVAILABLE_MODELS[key] = tiny.model_config(key)
from mflux.models.common.cli import save
sys.argv = ["mflux-save", "--model", f"{scratch}/source", "--base-model", key, "-q", "8", "--path", f"{scratch}/saved"]
save.main()
copy = getattr(importlib.import_module(module), name)(
    model_path=f"{scratch}/saved", model_config=model_config.AVAILABLE_MODELS[key]
)
image = copy.generate_image(seed=1, prompt="a red bicycle", num_inference_steps=1, width=64, height=64)
assert image.image.size == (64, 64), image.image.size
"""


def _test_files(package: Package) -> list[str]:
    return [file for file in package.tests if "/test_" in file]


def _ruff(package: Package) -> list[str]:
    beside = Path(sys.executable).with_name("ruff")
    version = _version(package)
    if beside.is_file() and version in run([str(beside), "--version"], package.facts.root).stdout:
        return [str(beside)]
    tool = Path(sys.executable).with_name("uv")
    return [str(tool) if tool.is_file() else "uv", "tool", "run", f"ruff@{version}"]


def _version(package: Package) -> str:
    """The ruff version that the checkout pins, or a fixed version if it pins none."""
    for path in _WORKFLOWS:
        found = re.search(r"ruff(?:@|==|-pre-commit\s+rev: v)(\d+\.\d+\.\d+)", package.facts.text(path))
        if found:
            return found.group(1)
    return _PINNED
