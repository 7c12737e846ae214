"""Wrong input ends a script with a one-line error and exit code 2."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Callable

from parity import devices

FULL = re.compile(r"os error (28|122)\b")  # as safetensors tells it: it raises no OSError
FREE = "free space on this disk, or name another one"


class ParityError(Exception):
    """What is wrong, where, and what to do, in one line."""


class Arguments(argparse.ArgumentParser):
    """Reports wrong arguments in one line, too."""

    def error(self, message: str):
        raise ParityError(f"{message}; see `{self.prog} --help`")


def run(main: Callable[[], int]) -> None:
    """Run a script's ``main``. Its result is the exit code (0 passes, 1 out of tolerance); wrong input gives 2."""
    try:
        code = main()
    except ParityError as error:
        print(f"parity: {_line(error)}", file=sys.stderr)
        code = 2
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"parity: cannot use{where}: {error.strerror or error}; {_cure(error)}", file=sys.stderr)
        code = 2
    except devices.DeviceError as error:
        print(f"parity: {_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("parity: interrupted", file=sys.stderr)
        code = 130
    except Exception as error:
        cure = FREE if FULL.search(str(error)) else devices.LESS if devices.out_of_memory(error) else ""
        if not cure:
            raise
        print(f"parity: {_line(error).rstrip('.')}; {cure}", file=sys.stderr)
        code = 2
    sys.exit(code)


def _cure(error: OSError) -> str:
    return FREE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "check that it exists"


def _line(error: BaseException) -> str:
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in str(error)[:4000]).split())
    return text if len(text) <= 500 else f"{text[:250]} … {text[-250:]}"
