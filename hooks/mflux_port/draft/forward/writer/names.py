"""Names that the written code gives to values of the reference."""

from __future__ import annotations


def table_name(name: str) -> str:
    """The attribute under which a port keeps an array that is not a weight.

    MLX ignores attributes with an underscore.
    """
    return name if name.startswith("_") else f"_{name}"


_ARGUMENT = "_argument"


def argument_name(name: str) -> str:
    """The attribute of a port for an argument of ``__init__``, if the reference keeps another value under its name."""
    return f"{name}{_ARGUMENT}"


def argument_of(attribute: str) -> str:
    """The argument of ``__init__`` that an attribute of a port was made from; empty for any other attribute."""
    return attribute.removesuffix(_ARGUMENT) if attribute.endswith(_ARGUMENT) else ""
