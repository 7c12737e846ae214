"""Where a port's checkpoint is on this machine: the folder that the user named last, else its Hugging Face repo."""

from __future__ import annotations

from pathlib import Path

from mflux_port.files.writing import write_whole
from mflux_port.port.port import Port

_NOTE = "{folder}/artifacts/checkpoint.txt"  # git ignores artifacts/: a path is valid on one machine only


def remember_checkpoint(root: Path, port: Port, given: str) -> None:
    """Store the path of a local folder or file, for the commands that `status` prints. The answers have the repo id."""
    for name, text in checkpoint_note(root, port, given).items():
        (root / name).parent.mkdir(exist_ok=True)
        if not (root / name).is_file() or (root / name).read_bytes() != text.encode():
            write_whole(root / name, text)


def checkpoint_note(root: Path, port: Port, given: str) -> dict[str, str]:
    """The note's text by its path in the checkout; empty when there is nothing to store."""
    if not Path(given).exists() or not (root / port.porting_folder).is_dir():
        return {}
    return {_NOTE.format(folder=port.porting_folder): f"{Path(given).resolve()}\n"}


def checkpoint_place(root: Path, port: Port) -> str:
    """The stored folder or file if it still exists, else the repo id."""
    note = root / _NOTE.format(folder=port.porting_folder)
    try:
        place = note.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return port.hf_repo
    return place if place and Path(place).exists() else port.hf_repo
