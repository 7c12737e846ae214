"""``mflux-port wire``: all surfaces of a port, on top of the interpreter's start, and with other
ports in the registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from mflux_port import wiring
from mflux_port.checkout import releases
from mflux_port.checkout.tree import Checkout
from mflux_port.files import parsing
from mflux_port.port.port import Port, load_port
from mflux_port.template.project import project_root
from mflux_port.wiring.source import source_of
from mflux_port.wiring.surfaces import SURFACES, model_config

from benchmarks.measure import BYTECODE, Action, Row, medians

CROWDS = (1, 10, 50)
OVERLAY = 'STANDARD_QUANTS = []\nOVERLAY = {\n    "dev": ("image", "flux", "flux1-dev", [], [], "active", None),\n}\n'


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        # mflux 0.18.1 has the completions, 0.24.0 the pins and the checker: no release has all surfaces.
        crowded = _checkout("0.24.0", Path(scratch, "crowded"))
        times = _against_start(crowded, Path(scratch, "timed"))
        crowds, planned, written = _crowds(crowded)
    start = times["start"]
    (base, few), (slow, many) = crowds[1], crowds[50]
    return [
        Row("interpreter's start", start * 1000, "ms"),
        Row("wiring on top of the interpreter's start", (times["wire"] - start) * 1000, "ms", 100),
        Row("a second `wire`, on top of the interpreter's start", (times["again"] - start) * 1000, "ms", 100),
        Row("times a shared file is read to plan, at most", max(planned.values()), "", 1),
        Row(
            "times it is read in a whole `wire`, including the check before it is replaced",
            max(written.values()),
            "",
            2,
        ),
        *(Row(f"wire with {size} ports there", taken * 1000, "ms") for size, (taken, _) in crowds.items()),
        Row("wire with 50 ports there / with 1, per registry entry", slow / base / (many / few), "×", 1.1),
    ]


def _against_start(root: Path, timed: Path) -> dict[str, float]:
    shutil.copytree(root, timed)
    # Like an installed package: compiled once, with the bytecode next to the sources.
    project = timed.with_name("project")
    for name in ("components", "hooks"):
        shutil.copytree(project_root() / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(project_root() / "copier.yml", project)
    env = {name: value for name, value in os.environ.items() if name not in BYTECODE}
    env["PYTHONPATH"] = str(project / "hooks")
    script = "from mflux_port.__main__ import run; run()"  # started like the installed command
    command = [sys.executable, "-c", script, "wire", "fresh"]
    run = partial(subprocess.run, check=True, cwd=timed, env=env, stdout=subprocess.DEVNULL)
    port = _answer(timed, "fresh")

    def unwired() -> None:
        wiring.unwire(Checkout(timed), port)
        os.sync()  # otherwise the next run waits for the disk

    return medians(
        {
            "start": Action(partial(run, [sys.executable, "-c", "pass"])),
            "wire": Action(partial(run, command), unwired),
            "again": Action(partial(run, command), lambda: wiring.wire(Checkout(timed), port)),
        }
    )


def _crowds(root: Path) -> tuple[dict[int, tuple[float, int]], Counter, Counter]:
    # For each number of ports: seconds, and entries in the registry.
    fresh = _answer(root, "fresh")
    taken: dict[int, tuple[float, int]] = {}
    for number in range(max(CROWDS)):
        wiring.wire(Checkout(root), _answer(root, f"member{number:02}"))
        if number + 1 in CROWDS:
            action = Action(lambda: wiring.wire(Checkout(root), fresh), lambda: _unwired(root, fresh))
            entries = len(model_config.registry(source_of(Checkout(root), model_config.FILE)))
            taken[number + 1] = medians({"wire": action})["wire"], entries
    wiring.unwire(Checkout(root), fresh)
    return taken, _reads(root, fresh, _plan), _reads(root, fresh, wiring.wire)


def _unwired(root: Path, port: Port) -> None:
    wiring.unwire(Checkout(root), port)
    parsing.parsed.cache_clear()  # a new command has parsed nothing yet


def _plan(checkout: Checkout, port: Port) -> None:
    wiring.verify_free(checkout, port)
    wiring.plan_wire(checkout, port)


def _reads(root: Path, port: Port, act: Callable[[Checkout, Port], object]) -> Counter:
    # Count how often each shared file is opened for reading.
    shared = {str(root / surface.FILE.format(model=port.model)) for surface in SURFACES}
    counted: Counter = Counter()
    active = [True]

    def hook(event: str, arguments: tuple) -> None:
        if active and event == "open" and str(arguments[0]) in shared and "r" in (arguments[1] or ""):
            counted[str(arguments[0])] += 1

    sys.addaudithook(hook)
    act(Checkout(root), port)
    active.clear()
    return counted


def _checkout(version: str, into: Path) -> Path:
    root = releases.checkout(version, into)
    (root / "scripts").mkdir(exist_ok=True)
    (root / "scripts/ci_extract_models.py").write_text(OVERLAY, encoding="utf-8")
    return root


def _answer(root: Path, model: str) -> Port:
    repo = f"org-{model}/{model.title()}"
    entry = {"key": model, "hf_repo": repo, "revision": "0" * 40}
    answers = {
        "model": model,
        "class_name": model.title(),
        "display_name": model.title(),
        "cli_name": model,
        "hf_repo": repo,
        "reference_pipeline": "DiffusionPipeline",
        "steps": 8,
        "guidance": 4.0,
        "supports_guidance": True,
        "checkpoints": [entry, {"key": f"{model}-edit", "hf_repo": f"{repo}-Edit", "variant": "edit"}],
        "variants": ["txt2img", "edit"],
        **{"vae": "flux2", "text_encoder": "qwen3", "scheduler": "linear", "mflux_api": "0.24"},
        **dict.fromkeys(("img2img", "negative_prompt", "lora", "training"), True),
    }
    path = root / f"porting/{model}/answers.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(answers), encoding="utf-8")
    return load_port(root, model)
