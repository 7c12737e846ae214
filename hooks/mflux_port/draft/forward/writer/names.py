"""Names in written code for values that the reference keeps."""

from __future__ import annotations


def table_name(name: str) -> str:
    """The attribute under which a port keeps an array that is not a weight.

    MLX ignores attributes with an underscore.
    """
    return name if name.startswith("_") else f"_{name}"
