"""What wiring has put into the shared files, kept beside the port's answers.

It tells a line that is ours, from older answers, from one that somebody edited since. Wiring works without it.
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
    """Surface id to block name to text. Empty when there is none, or it cannot be read."""
    data = checkout.read(record_path(port))
    try:
        record = parse_json(data) if data else {}
        sound = isinstance(record, dict) and all(map(_is_sound, record.values()))
    except ValueError:
        return {}
    return record if sound else {}


def _is_sound(texts: object) -> bool:
    # Half a character, which JSON can hold, is no text of a file: encoding it raises ValueError.
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        return False
    "".join(texts.values()).encode()
    return True


def encode_record(record: dict[str, dict[str, str]]) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
