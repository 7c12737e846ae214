"""``check --run``: what must execute. In the checkout's own environment, where mflux is installed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mflux_port
from mflux_port.checks.engine import reasons
from mflux_port.checks.engine.facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import RUN, Verdict, failed, not_applicable, passed, rule
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.template.project import address

if TYPE_CHECKING:
    from subprocess import CompletedProcess

_PINNED = "0.16.3"
_NEEDED = ("mlx", "mflux", "transformers", "pytest")
_MISSING = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""
_WORKFLOWS = (".github/workflows/tests.yml", ".pre-commit-config.yaml", "pyproject.toml", "justfile", "Makefile")


def verify_environment(facts: Facts, port: Port) -> None:
    """Raise PortError where the Python that would run a port's tests lacks what they need."""
    found = _run([str(_python(facts)), "-c", _MISSING, *_NEEDED], facts.root).stdout.split()
    if found:
        template = address(port.template, port.template_commit) or "<template>"
        raise PortError(
            f"--run needs {', '.join(found)}, which {_python(facts)} lacks; run it in the checkout's environment: "
            f"uv run --with {template} mflux-port check {port.model} --run"
        )


@rule(
    "RUN01",
    looks_at="src/mflux/models/<model>/ and the port's tests",
    fix="uvx ruff@<version> check --fix, then ruff format",
    why="mflux's CI stops at the first finding of its pinned ruff",
    when=RUN,
)
def ruff_is_content(package: Package) -> Verdict:
    """ruff, in the version that mflux pins, has nothing to say"""
    paths = [package.folder, *package.tests]
    for command in (["check"], ["format", "--check"]):
        done = _run([*_ruff(package), *command, *paths], package.facts.root)
        if done.returncode:
            return failed(f"ruff {command[0]}: {_last(done)}")
    return passed(f"ruff {_version(package)}")


@rule(
    "RUN02",
    looks_at="tests/",
    fix="mend the test that is named",
    why="the fast tests lock what the port promises",
    only=reasons.has_answers,
    when=RUN,
)
def fast_tests_pass(package: Package) -> Verdict:
    """The port's fast tests pass"""
    command = [
        str(_python(package.facts)),
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
    done = _run(command, package.facts.root)
    return passed(_last(done)) if done.returncode == 0 else failed(_last(done))


@rule(
    "RUN03",
    looks_at="mflux-save and the tiny checkpoint of the tests",
    fix="look at the component that is named; its definition and the class that save.py takes",
    why="saved models lacked weights without an error (guide: save, load from the local path, generate; #405, #603)",
    only=reasons.has_answers,
    when=RUN,
)
def saved_model_round_trips(package: Package) -> Verdict:
    """mflux-save writes a quantized copy with every component and its index, and the copy draws"""
    import tempfile

    helper = f"tests/image_generation/helpers/tiny_{package.model}_checkpoint.py"
    if not package.facts.exists(helper):
        return not_applicable(f"{helper} is not there")
    checkpoint = next(c for c in package.port.checkpoints if c.variant == "txt2img")
    names = [package.model, checkpoint.key, package.port.variant_module("txt2img"), package.port.class_name]
    with tempfile.TemporaryDirectory() as scratch:
        done = _run([str(_python(package.facts)), "-c", _ROUND_TRIP, *names, scratch], package.facts.root)
        if done.returncode:
            return failed(_last(done))
        saved = sorted(path.parent.name for path in Path(scratch, "saved").rglob("*.index.json"))
        lacking = sorted({"vae", "transformer", "text_encoder"} - set(saved))
        return failed(f"no index for {', '.join(lacking)}") if lacking else passed(", ".join(saved))


@rule(
    "RUN04",
    looks_at="porting/<model>/checkpoint_keys.txt, the mapping and the modules",
    fix="mflux-port ledger <model> names what is open; map it, or waive it with a reason in waivers.yml",
    why="a module that keeps its random start draws noise, or something slightly off (#707)",
    when=RUN,
)
def ledger_balances(package: Package) -> Verdict:
    """The checkpoint's stored key list and the port's modules balance"""
    keys = f"porting/{package.model}/checkpoint_keys.txt"
    if not package.facts.exists(keys):
        return not_applicable(f"{keys} is not there; mflux-port ledger <model> --checkpoint <folder> writes it")
    done = _run(
        [str(_python(package.facts)), "-c", _LEDGER, str(Path(mflux_port.__file__).parents[1]), package.model],
        package.facts.root,
    )
    if done.returncode == 0:
        return passed("every tensor is taken once, every parameter is filled once")
    open_ends = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    return failed("; ".join(open_ends) or _last(done))


_LEDGER = """
import sys
sys.path.append(sys.argv[1])
from mflux_port.cli import main
sys.exit(main(["ledger", sys.argv[2]]))
"""

# mflux-save as a person runs it, on the tiny checkpoint: the registry's sizes are replaced by the checkpoint's. Then the
# copy is loaded from its folder and draws.
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


def _python(facts: Facts) -> Path:
    """The checkout's own interpreter where it has one, else ours."""
    own = facts.root / ".venv/bin/python"
    return own if own.is_file() else Path(sys.executable)


def _ruff(package: Package) -> list[str]:
    beside = Path(sys.executable).with_name("ruff")
    version = _version(package)
    if beside.is_file() and version in _run([str(beside), "--version"], package.facts.root).stdout:
        return [str(beside)]
    tool = Path(sys.executable).with_name("uv")
    return [str(tool) if tool.is_file() else "uv", "tool", "run", f"ruff@{version}"]


def _version(package: Package) -> str:
    """The ruff version that the checkout pins; the newest known one where it says none."""
    for path in _WORKFLOWS:
        found = re.search(r"ruff(?:@|==|-pre-commit\s+rev: v)(\d+\.\d+\.\d+)", package.facts.text(path))
        if found:
            return found.group(1)
    return _PINNED


def _run(command: list[str], root: Path) -> CompletedProcess:
    paths = os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1"}
    import subprocess  # with --run alone

    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def _last(done: CompletedProcess) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit {done.returncode}"
