"""What wiring has put into the shared files, kept beside the port's answers.

It tells a line that is ours, from older answers, from one that somebody edited since. Wiring works without it.
"""

from __future__ import annotations

import json

from mflux_port.checkout import Checkout
from mflux_port.port import Port

NAME = "wiring.json"


def record_path(port: Port) -> str:
    return f"{port.porting_folder}/{NAME}"


def read_record(checkout: Checkout, port: Port) -> dict[str, dict[str, str]]:
    """Surface id to block name to text. Empty when there is none, or it cannot be read."""
    data = checkout.read(record_path(port))
    try:
        record = json.loads(data) if data else {}
    except ValueError:
        return {}
    sound = isinstance(record, dict) and all(isinstance(value, dict) for value in record.values())
    return record if sound else {}


def encode_record(record: dict[str, dict[str, str]]) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
