"""``mflux-port demo``: make a new mflux checkout and a port in it, run its tests, and generate an image."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from mflux_port.checkout import releases
from mflux_port.errors import PortError
from mflux_port.json_output import print_json
from mflux_port.template.project import project_root

MODEL = "nova_demo"
# Small enough to generate an image from random weights within seconds on a CPU.
ANSWERS = {
    "model": MODEL,
    "hf_repo": "mflux-port/Nova-Demo",
    "display_name": "Nova Demo",
    "vae": "own",
    "text_encoder": "own",
    "training": True,
    "checkpoints": [
        {
            "key": "nova-demo",
            "hf_repo": "mflux-port/Nova-Demo",
            "aliases": ["nova-demo"],
            "steps": 4,
            "guidance": 1.0,
            "supports_guidance": False,
            "transformer_overrides": {
                "hidden_size": 128,
                "num_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 128,
                "context_dim": 128,
            },
            "text_encoder_overrides": {
                "vocab_size": 320,
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 128,
            },
        }
    ],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--into", type=Path, default=Path("mflux-port-demo"), metavar="DIR", help="where to work")
    parser.add_argument(
        "--mflux", default=releases.NEWEST, metavar="VERSION", help=f"release (default: {releases.NEWEST})"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0 with the image's path printed, 1 when the port's own tests fail."""
    progress = _Progress(quiet=args.json)
    work = Path(os.path.realpath(args.into))
    if work.exists() and not work.is_dir():
        raise PortError(f"{work} is not a folder; name another one with --into")
    checkout = releases.checkout(args.mflux, work / f"mflux-{args.mflux}", progress)
    _apply_template(checkout, progress)
    python = releases.install(checkout, releases.environment(args.mflux, say=progress), progress)
    weights = _write_checkpoint(python, checkout, work / "tiny-checkpoint", progress)
    tests = _run_tests(python, checkout, progress)
    image = _generate(python, checkout, weights, work / "nova-demo.png", progress)
    if args.json:
        print_json("demo", {"checkout": str(checkout), "image": str(image), "tests_passed": tests})
    else:
        print(f"the port:  {checkout / 'src/mflux/models' / MODEL}\nthe image: {image}")
    return 0 if tests else 1


class _Progress:
    """Print a line per step, with the seconds since the start."""

    def __init__(self, quiet: bool):
        self._start = time.monotonic()
        self._stream = sys.stderr if quiet else sys.stdout

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {line}", file=self._stream, flush=True)


def _apply_template(checkout: Path, progress: _Progress) -> None:
    if (checkout / f"porting/{MODEL}/answers.yml").is_file():
        progress("using the existing port")
        return
    from mflux_port.guide.answers import ANSWERS_FILE
    from mflux_port.guide.request import Request
    from mflux_port.guide.runner import Runner
    from mflux_port.guide.start import Journey

    (checkout / ANSWERS_FILE).write_text(json.dumps(ANSWERS), encoding="utf-8")  # JSON is YAML
    Journey(Request(checkout, template=str(project_root())), Runner(checkout), progress).copy()
    releases.commit(checkout, f"Start the port of {MODEL}")


def _write_checkpoint(python: Path, checkout: Path, folder: Path, progress: _Progress) -> Path:
    if (folder / "tokenizer/tokenizer.json").is_file():
        progress("using the tiny checkpoint again")
        return folder
    progress("writing a tiny random checkpoint")
    module = f"tests.image_generation.helpers.tiny_{MODEL}_checkpoint"
    _run([python, "-m", module, folder], checkout, "the tiny checkpoint could not be written")
    return folder


def _run_tests(python: Path, checkout: Path, progress: _Progress) -> bool:
    progress("running the port's fast tests")
    command = [python, "-m", "pytest", "-q", "-o", "addopts=", "-m", "fast", "-k", MODEL, "tests"]
    done = subprocess.run(command, cwd=checkout, env=_environment(), capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    progress(lines[-1] if lines else done.stderr.strip()[-200:])
    return done.returncode == 0


def _generate(python: Path, checkout: Path, weights: Path, image: Path, progress: _Progress) -> Path:
    command = [python.with_name("mflux-generate-nova-demo"), "--model", weights, "--base-model", "nova-demo"]
    command += ["--prompt", "a vintage red bicycle", "--seed", "42", "--width", "128", "--height", "128"]
    command += ["--output", image]
    progress("mflux-generate-nova-demo generates an image")
    image.unlink(missing_ok=True)
    _run(command, checkout, "mflux-generate-nova-demo failed")
    if not image.is_file():
        raise PortError(
            f"mflux-generate-nova-demo did not write {image}; run it by hand: {' '.join(map(str, command))}"
        )
    return image


def _run(command: list, checkout: Path, failure: str) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=checkout, env=_environment(), capture_output=True, text=True
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PortError(f"{failure}: {lines[-1] if lines else 'no output'}")


def _environment() -> dict[str, str]:
    # The tiny checkpoint is local, and compiling kernels would take longer than generating the image.
    return {**os.environ, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
