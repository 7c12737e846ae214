"""YAML that people write: one way to read it, whatever it holds."""

from __future__ import annotations

import os

from mflux_port.errors import PortError

# What PyYAML itself raises for a value that its tag cannot be, such as `!!int x` or the thirteenth month.
_UNSOUND = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: os.PathLike | str, cure: str) -> object:
    """What the file holds, plain values only. Raises PortError, with ``cure`` as what to do, for anything but YAML."""
    return parse_yaml(read_text(path, cure), path, cure)


def read_text(path: os.PathLike | str, cure: str) -> str:
    """The text of ``path``. Raises PortError when it is none, and OSError when it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise PortError(f"{path} is not UTF-8 text; {cure}") from None


def parse_yaml(text: str, path: os.PathLike | str, cure: str) -> object:
    """What ``text``, which stands in ``path``, holds. Raises as ``read_yaml``."""
    import yaml  # every interpreter that runs Copier has it; only commands that read answers anew pay for it

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = path if line is None else f"{path} line {line + 1}"
        raise PortError(f"{where} is no YAML; {cure}") from None
    except _UNSOUND as error:
        raise PortError(f"{path} holds a value that cannot be read ({error}); {cure}") from None
