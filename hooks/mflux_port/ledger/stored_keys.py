"""The key list of a port: a ledger reads it when no checkpoint is given, and writes it when one is."""

from __future__ import annotations

from mflux_port.checkout.tree import Checkout
from mflux_port.checkpoint.keylist import KEYLIST, Snapshot, keylist_text, merged, read_keylist
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.ledger.port_modules import weight_definition
from mflux_port.port.port import Port


def stored_keys(checkout: Checkout, port: Port) -> Snapshot:
    """The stored key list. Raises PortError when there is none, or when it cannot be read."""
    path = checkout.root / KEYLIST.format(model=port.model)
    if not path.is_file():
        raise PortError(f"{path} is missing; name the checkpoint once with --checkpoint, then it is stored there")
    return read_keylist(path)


def store_keys(checkout: Checkout, port: Port, taken: Snapshot) -> list[str]:
    """Store a checkpoint's keys and return lines about what that changed.

    A list that lacks a component of the port would fail every later ledger, so it is not written.
    """
    path = checkout.root / KEYLIST.format(model=port.model)
    whole, changes = merged(path, taken)
    parts = [part for part in weight_definition(port).get_components() if part.download_url is None]
    lacking = [part.name for part in parts if whole.of(part.hf_subdir, part.name) is None]
    if lacking:
        return [f"{path.name} is not written: {taken.where} has no {', '.join(lacking)}"]
    write_whole(path, keylist_text(whole))
    return changes
