"""Compare the header reader with the safetensors library: a file that it accepts must be valid there, and equal."""

from __future__ import annotations

import json

import safetensors
from mflux_port.checkpoint.headers import DTYPE_BITS, header_length, parse_header
from mflux_port.errors import PortError

WORDS = ('"dtype":', '"shape":', '"data_offsets":', '"__metadata__":', *(f'"{name}"' for name in DTYPE_BITS))
LONGEST = 4000
# The library alone refuses these, and no program writes them: newer types, and odd JSON in parts that nobody reads.
_STRICTER = ("unknown variant", "`-0.0`", "hex escape", "recursion limit", "number out of range")
_LARGEST = 100_000  # the most bytes of tensor data that are made up for the library


def one(data: bytes) -> None:
    """An input is a whole file, or only a header when it starts with a brace or a space."""
    if data[:1] in (b"{", b" "):
        _header(data)
    else:
        _file(data)


def _file(data: bytes) -> None:
    try:
        length = header_length(data[:8], "here", len(data))
        tensors = parse_header(data[8 : 8 + length], "here", len(data) - 8 - length)
    except PortError as error:
        _verify_line(error)
        return
    _verify_same(tensors, data)


def _header(header: bytes) -> None:
    try:
        tensors = parse_header(header, "here")
    except PortError as error:
        _verify_line(error)
        return
    size = sum(tensor.bytes for tensor in tensors.values())
    if size <= _LARGEST:
        _verify_same(tensors, len(header).to_bytes(8, "little") + header + bytes(size))


def _verify_line(error: PortError) -> None:
    assert str(error).isprintable() and len(str(error)) < 1000, f"an error of more than one line: {error!r}"


def _verify_same(tensors: dict, data: bytes) -> None:
    try:
        theirs = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in safetensors.deserialize(data)}
    except safetensors.SafetensorError as error:
        if not any(words in str(error) for words in _STRICTER):
            raise AssertionError(f"the library refuses a file that was accepted: {error}") from None
        return
    ours = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    assert ours == theirs, f"{json.dumps(sorted(ours))} against {json.dumps(sorted(theirs))}"
