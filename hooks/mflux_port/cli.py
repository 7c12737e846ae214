"""Argument parsing. Each command is a module of ``mflux_port.commands``, which is imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from mflux_port import __version__
from mflux_port.errors import PortError, format_error

COMMANDS = {
    "start": "create a port from a checkpoint and compare it with its reference",
    "demo": "make a port in a new mflux checkout and generate an image with it",
    "inspect": "answer the template's questions from a checkpoint",
    "copy": "start a port from the template, or refuse before anything is written",
    "draft": "write the weight mapping and the MLX modules from a checkpoint",
    "ledger": "account for every checkpoint tensor and every MLX parameter",
    "wire": "add a port to mflux's shared files",
    "unwire": "remove a port from mflux's shared files",
    "update": "update a port to the newest template",
    "check": "check a port against the integration checklist",
    "status": "show the state of every port in the checkout, and its next step",
    "finish": "remove the scaffolding before the pull request",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise PortError(f"{message}; see `{self.prog} --help`")


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns 0 for success, 1 when a row fails, 2 when the input is wrong (one line on stderr).
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if not arguments or arguments[0] not in COMMANDS:
            _without_command(arguments)
        args = _parser(arguments[0]).parse_args(arguments[1:])
        code = args.run(args)
        print(end="", flush=True)  # raises BrokenPipeError here if the reader is gone
        return code
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
        return _fail(f"cannot use{where}: {error.strerror or error}; check that it exists and that you have permission")


def _fail(message: str) -> int:
    print(f"mflux-port: {format_error(message)}", file=sys.stderr)
    return 2


def _parser(name: str) -> argparse.ArgumentParser:
    # Only the requested command is imported, so that the others do not make it start more slowly.
    command = importlib.import_module(f"mflux_port.commands.{name}")
    parser = _Parser(prog=f"mflux-port {name}", description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
    parser.add_argument("--checkout", default=".", metavar="PATH", help="the mflux checkout (default: here)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)
    return parser


def _without_command(arguments: list[str]) -> NoReturn:
    # Prints the help or the version, or raises PortError.
    parser = _Parser(prog="mflux-port", description="Port an image model to mflux.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for name, summary in COMMANDS.items():
        subparsers.add_parser(name, help=summary)
    parser.parse_args(arguments)
    parser.error("put the command first")
