"""``mflux-port copy``: run ``copier copy`` on the template, and refuse bad answers before a file is rendered.

Copier runs the template's code only after it has rendered the files, so ``copier copy`` refuses a name that mflux
already has at the end, and then removes the files. This command first lets Copier ask its questions without rendering
anything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout.git import reason
from mflux_port.checkout.lock import exclusive
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.files.yaml_files import read_yaml
from mflux_port.json_output import print_json
from mflux_port.port.port import Port, port_from_answers

_NOT_ASKED = ("template", "template_commit", "lora_modules")
_QUESTIONS = tuple(name for name in Port._fields if name not in _NOT_ASKED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("template", help="the template: a folder or an address")
    parser.add_argument("-d", "--data", action="append", default=[], metavar="QUESTION=ANSWER", help="one answer")
    parser.add_argument(
        "--data-file", type=Path, metavar="FILE", help="answers, as `mflux-port inspect -o` writes them"
    )
    parser.add_argument(
        "--defaults", action="store_true", help="ask nothing: use the default of every answer that is not given"
    )
    parser.add_argument("--to", metavar="VERSION", help="the template's version (default: its newest tag)")


def run(args: argparse.Namespace) -> int:
    """Start a port. Returns 0, or 2 when it is refused: then nothing was written."""
    root = Checkout(args.checkout).root
    if (args.to or "").startswith("-"):
        raise PortError(f"--to {args.to} is not a version of a template; git would take it as an option")
    answers = _ask(root, args)
    with exclusive(root):
        checkout, port = Checkout(root), port_from_answers(answers)
        wiring.verify_free(checkout, port)
        wiring.plan_wire(checkout, port)
    with _stdout_to_stderr() if args.json else contextlib.nullcontext():
        _copy(root, args, answers, defaults=True)
    if args.json:
        print_json("copy", {"model": port.model, "answers": port.answers_file})
    return 0


def _ask(root: Path, args: argparse.Namespace) -> dict:
    # All answers, after the template's validators accepted them; Copier writes nothing.
    worker = _copy(root, args, _given(args), defaults=args.defaults, pretend=True, skip_tasks=True)
    found = worker.answers.combined
    return {name: found[name] for name in _QUESTIONS if name in found}


def _given(args: argparse.Namespace) -> dict:
    answers = read_yaml(args.data_file, "fix the file") if args.data_file else {}
    if not isinstance(answers, dict):
        raise PortError(f"{args.data_file} is not a mapping of questions to answers; write `question: answer` lines")
    for text in args.data:
        name, sign, value = text.partition("=")
        if not sign:
            raise PortError(f"--data {text} has no answer; write --data QUESTION=ANSWER")
        answers[name] = value
    return answers


def _copy(root: Path, args: argparse.Namespace, answers: dict, **options: bool):
    import copier
    import jinja2
    from plumbum import ProcessExecutionError

    try:
        return copier.run_copy(args.template, root, answers, vcs_ref=args.to, unsafe=True, quiet=True, **options)
    except copier.errors.TaskError:
        raise PortError("the port was not wired, for the reason above; its files were removed") from None
    except ProcessExecutionError as error:
        raise PortError(
            f"{args.template} cannot be read ({reason(error.stderr)}); name the template's folder or address"
        ) from None
    except (copier.errors.CopierError, jinja2.TemplateError, ValueError, TypeError, RuntimeError) as error:
        raise PortError(f"no port was started from {args.template}: {error}") from None


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    # The wiring process gets this too, so that only JSON is printed on stdout.
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
