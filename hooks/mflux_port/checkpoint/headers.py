"""The header of a safetensors file: names, shapes and types of its tensors. Tensor data is never read.

Format: https://huggingface.co/docs/safetensors - eight bytes of header length, a JSON object, the data.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from mflux_port.errors import PortError, short_repr

# The safetensors library itself rejects longer headers.
HEADER_LIMIT = 100_000_000
# Bits per element of every type that the format knows.
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
_DIMENSIONS = 64  # more than any library allows: multiplying a million sizes would take hours
_LONGEST_NAME = 10_000
_HUGE_NUMBER = re.compile(r"\d{19}")
_LFS_POINTER = b"version "  # the start of the text that git leaves in place of a file
PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint. ``shape`` is torch's, outermost dimension first."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return (self.elements * DTYPE_BITS[self.dtype] + 7) // 8


class Header(dict[str, Tensor]):
    """The tensors of a file by name, in the file's order. ``metadata`` is the header's ``__metadata__``."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor] = (), metadata: Mapping = {}):
        super().__init__(tensors)
        self.metadata: dict[str, str] = dict(metadata)


def read_header(path: Path) -> Header:
    """Read the tensors of a file by name, in the file's order. Raises PortError unless it is a valid safetensors file.

    Reads only the header: memory is bounded by ``HEADER_LIMIT`` and by the file's size, not by what the file claims.
    """
    if path.suffix.lower() in PICKLES:
        raise PortError(
            f"{path} is a pickle, which can run code; only .safetensors files are read, so download one of those"
        )
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # checked before opening: a read from a pipe would block
            raise PortError(f"{path} is not a regular file; point to a .safetensors file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = header_length(file.read(8), path, size)
            return parse_header(file.read(length), path, size - 8 - length)
    except OSError as error:
        raise PortError(f"{path} cannot be read ({error.strerror or error}); download it again") from None


def header_length(first_bytes: bytes, where: object, file_size: int) -> int:
    """The header's length in bytes, read from the file's first eight. Raises PortError when the file cannot have it."""
    if len(first_bytes) < 8:
        raise PortError(f"{where} is shorter than a safetensors header; download it again")
    if first_bytes == _LFS_POINTER:
        raise PortError(f"{where} is a Git LFS pointer, not the file itself; run `git lfs pull` or download it again")
    length = int.from_bytes(first_bytes, "little")
    if length > HEADER_LIMIT:
        raise PortError(
            f"{where} claims a header of {length} bytes, more than safetensors allows; it is not a safetensors file"
        )
    if length > file_size - 8:
        raise PortError(f"{where} ends within its header ({file_size} of {length + 8} bytes); download it again")
    return length


def parse_header(header: bytes, where: object, data_size: int | None = None) -> Header:
    """The tensors that a header lists. ``data_size`` is the number of bytes after the header, None when unknown."""
    table = _json_object(header, where)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise PortError(f"{where}: __metadata__ is not a JSON object of strings; write the file again with safetensors")
    tensors = Header(metadata=metadata)
    spans = []
    for name, entry in table.items():
        tensors[name], span = _tensor(name, entry, where)
        spans.append((*span, name))
    _verify_spans(sorted(spans), where, data_size)
    return tensors


def _json_object(header: bytes, where: object) -> dict:
    def pairs_hook(pairs: list[tuple[str, object]]) -> dict:
        return _without_duplicates(pairs, where)

    try:
        table = json.loads(header.decode("utf-8"), object_pairs_hook=pairs_hook, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise PortError(f"{where} has no JSON header; it is not a safetensors file, or it was cut off") from None
    if not isinstance(table, dict):
        raise PortError(f"{where}: the header is a JSON {type(table).__name__}, not an object; download it again")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # Python accepts NaN and Infinity, JSON does not


def _without_duplicates(pairs: list[tuple[str, object]], where: object) -> dict:
    table = dict(pairs)
    if len(table) != len(pairs):
        duplicate = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise PortError(f"{where} lists {short_repr(duplicate)} twice; write the file again with safetensors")
    return table


def _tensor(name: str, entry: object, where: object) -> tuple[Tensor, tuple[int, int]]:
    if not is_name(name):
        raise PortError(
            f"{where}: {short_repr(name)} is not a valid tensor name; write the file again with safetensors"
        )
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise PortError(f"{where}: tensor {short_repr(name)} has no dtype, shape and data_offsets; download it again")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        known = ", ".join(DTYPE_BITS)
        raise PortError(
            f"{where}: tensor {short_repr(name)} has the unknown type {short_repr(dtype)}; known types: {known}"
        )
    if not _are_sizes(shape) or not _are_sizes(span) or len(span) != 2:
        raise PortError(
            f"{where}: tensor {short_repr(name)} has shape {short_repr(shape)} at {short_repr(span)}; "
            "these must be lists of whole numbers"
        )
    tensor = Tensor(name, dtype, tuple(shape))
    if tensor.elements * DTYPE_BITS[dtype] % 8:
        raise PortError(f"{where}: tensor {short_repr(name)} of type {dtype} ends within a byte; download it again")
    if span[1] - span[0] != tensor.bytes:
        raise PortError(
            f"{where}: tensor {short_repr(name)} needs {tensor.bytes} bytes and has {span[1] - span[0]}; download it again"
        )
    return tensor, (span[0], span[1])


def is_name(name: str) -> bool:
    """Whether a tensor may have this name.

    It is written into text lists and tables, and its numbers become integers.
    """
    plain = bool(name) and name.isprintable() and name == name.strip() and len(name) <= _LONGEST_NAME
    return plain and not _HUGE_NUMBER.search(name)


def _are_sizes(values: object) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= _DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _verify_spans(spans: list[tuple[int, int, str]], where: object, data_size: int | None) -> None:
    # safetensors itself requires that tensors follow one another without gaps, up to the end of the file.
    end = 0
    for start, stop, name in spans:
        if start != end:
            kind = "overlaps another's" if start < end else "begins after a gap"
            raise PortError(f"{where}: the data of tensor {short_repr(name)} {kind}; download it again")
        end = stop
    if data_size is not None and end != data_size:
        raise PortError(f"{where} holds {data_size} bytes of data and lists {end}; download it again")
