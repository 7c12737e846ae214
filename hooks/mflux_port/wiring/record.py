"""The texts that wiring has inserted into the shared files, kept next to the port's answers.

They show whether wiring inserted a line, for these answers or older ones, and whether it was edited since. Wiring works
without the record.
"""

from __future__ import annotations

import json

from mflux_port.checkout.tree import Checkout
from mflux_port.files.parsing import parse_json
from mflux_port.port.port import Port

NAME = "wiring.json"


def record_path(port: Port) -> str:
    return f"{port.porting_folder}/{NAME}"


def read_record(checkout: Checkout, port: Port) -> dict[str, dict[str, str]]:
    """Maps surface ids to block names to texts. Empty when the file is missing or cannot be read."""
    data = checkout.read(record_path(port))
    try:
        record = parse_json(data) if data else {}
        valid = isinstance(record, dict) and all(map(_is_valid, record.values()))
    except ValueError:
        return {}
    return record if valid else {}


def _is_valid(texts: object) -> bool:
    # JSON can hold half a surrogate pair, for which encoding raises ValueError.
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        return False
    "".join(texts.values()).encode()
    return True


def encode_record(record: dict[str, dict[str, str]], before: bytes | None = None) -> bytes:
    """The record's bytes, with the line endings of ``before``, the current file."""
    data = (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    return data.replace(b"\n", b"\r\n") if b"\r\n" in (before or b"") else data
