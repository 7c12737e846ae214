"""Argument parsing only. Each command is a module of ``mflux_port.commands``, imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from mflux_port import __version__
from mflux_port.errors import PortError, said

COMMANDS = {
    "demo": "make a port in a fresh mflux checkout and let it draw an image",
    "inspect": "answer the template's questions from a checkpoint",
    "draft": "write the weight mapping and the MLX modules from a checkpoint",
    "ledger": "account for every checkpoint tensor and every MLX parameter",
    "wire": "put a port into mflux's shared files",
    "unwire": "take a port out of mflux's shared files",
    "update": "bring a port to the newest template",
    "check": "go through the integration checklist",
    "status": "say where every port in the checkout stands",
    "finish": "take the scaffolding away before the pull request",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise PortError(f"{message}; see `{self.prog} --help`")


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns 0 when all is done or passes, 1 when a row fails, 2 when the input is wrong (one line on stderr).
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        parser = _parser(arguments)
        args = parser.parse_args(arguments)
        return args.run(args)
    except PortError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("mflux-port: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"cannot use{where}: {error.strerror or error}; check that it exists and that you may use it")


def _fail(message: str) -> int:
    print(f"mflux-port: {said(message)}", file=sys.stderr)
    return 2


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="mflux-port", description="Port an image model to mflux.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    named = arguments[0] if arguments and arguments[0] in COMMANDS else None
    for name, summary in COMMANDS.items():
        # Only the command that is asked for is built and imported, so that the others cost it nothing.
        if named not in (None, name):
            continue
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if named:
            _fill(subparser, importlib.import_module(f"mflux_port.commands.{name}"))
    return parser


def _fill(subparser: argparse.ArgumentParser, command) -> None:
    subparser.add_argument("--checkout", default=".", metavar="PATH", help="the mflux checkout (default: here)")
    subparser.add_argument("--json", action="store_true", help="print JSON")
    command.add_arguments(subparser)
    subparser.set_defaults(run=command.run)
