"""``mflux-port start``: from a checkpoint to the first comparison with its reference, until a person is needed.

It runs the other commands one after another: inspect, copy, then each next action of ``status``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.json_output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="folder in diffusers layout, or Hugging Face repo id")
    parser.add_argument("--model", default="", metavar="NAME", help="the port's package name (default: the pipeline's)")
    parser.add_argument("--repo", default="", metavar="ORG/NAME", help="the repo id of a local folder")
    parser.add_argument(
        "--template", default="", metavar="PATH", help="where the template is (default: this program's)"
    )
    parser.add_argument("--steps", default="", metavar="N", help="as the model card says (default: the pipeline's)")
    parser.add_argument("--guidance", default="", metavar="G", help="from the model card; 1 turns it off")
    parser.add_argument(
        "--python", default="", metavar="FILE", help="a Python with MLX, torch and diffusers (default: `uv run`)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")


def run(args: argparse.Namespace) -> int:
    """Start or continue a port, and print the next action. Returns 0."""
    from mflux_port.guide.request import Request
    from mflux_port.guide.runner import Runner, own_python
    from mflux_port.guide.start import Journey, planned

    root = Checkout(args.checkout).root
    given = {name: getattr(args, name) for name in ("model", "repo", "steps", "guidance", "template", "python")}
    elsewhere = "" if args.checkout == "." else args.checkout
    request = Request(root, _from_root(args.checkpoint, root), args.checkpoint, **given, checkout=elsewhere)
    python = args.python or own_python()
    if args.dry_run:
        _print_plan(planned(request, python), args.json)
        return 0
    out = sys.stderr if args.json else sys.stdout
    journey = Journey(request, Runner(root, _absolute(python)), lambda line: print(line, file=out, flush=True))
    action = journey.go()
    if args.json:
        print_json("start", {"model": journey.model, "steps": journey.done, "next": action._asdict()})
    else:
        print("\n".join(action.lines()))
    return 0


def _from_root(checkpoint: str, root: Path) -> str:
    # The commands run in the checkout's root.
    return os.path.relpath(os.path.realpath(checkpoint), root) if Path(checkpoint).exists() else checkpoint


def _absolute(python: str) -> str:
    # A name without a folder is looked up in PATH.
    return os.path.abspath(python) if os.sep in python else python


def _print_plan(steps: list[dict], as_json: bool) -> None:
    if as_json:
        print_json("start --dry-run", {"planned": steps})
        return
    for step in steps:
        print(f"{step['step']:<10}{step['command']}")
