"""Read YAML that people wrote, and report every kind of error in the same way."""

from __future__ import annotations

from pathlib import Path

from mflux_port.errors import PortError

# Errors that PyYAML itself raises for a value that does not fit its tag, such as `!!int x` or month 13.
_VALUE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: Path, fix: str) -> object:
    """The plain values in the file. Raises PortError, which ends in ``fix``, for anything but UTF-8 YAML.

    Raises OSError when the file cannot be read.
    """
    import yaml  # imported late: only some commands read answers

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except UnicodeDecodeError:
        raise PortError(f"{path} is not UTF-8 text; {fix}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = path if line is None else f"{path} line {line + 1}"
        raise PortError(f"{where} is not valid YAML; {fix}") from None
    except _VALUE_ERRORS as error:
        raise PortError(f"{path} holds a value that cannot be read ({error}); {fix}") from None
