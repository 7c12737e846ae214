"""The sizes on disk in a port's README: measured, never estimated."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from mflux_port.errors import PortError

_FIGURE = r"(?:\(not measured yet\)|[\d.]+ [kMG]B)"


def measured(folder: Path) -> int:
    """Bytes of all files below ``folder``, links followed, each file once (as ``du -sL --apparent-size`` counts)."""
    found: dict[tuple[int, int], int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            status = Path(root, name).stat()
            found[status.st_dev, status.st_ino] = status.st_size
    if not sum(found.values()):
        raise PortError(f"{folder} holds no files; name the folder that the download or mflux-save wrote")
    return sum(found.values())


def saved_bits(folder: Path) -> int:
    """The bits of a copy that mflux-save wrote, from its index files. Raises PortError for any other folder."""
    levels = set()
    for path in folder.glob("*/*.index.json"):
        try:
            levels.add(str(json.loads(path.read_text(encoding="utf-8"))["metadata"]["quantization_level"]))
        except (ValueError, KeyError, TypeError):
            continue
    bits = levels.pop() if len(levels) == 1 else ""
    if not bits.isdigit():
        raise PortError(
            f"{folder} is not a quantized copy made by mflux-save; make one with `mflux-save --quantize 8 --path …`"
        )
    return int(bits)


def fill_sizes(readme: str, where: object, repo: str, download: int, saved: dict[int, int]) -> str:
    """Fill in the figures of one repo in ``readme``. ``download`` and the values of ``saved`` (by bits) are bytes.

    Raises PortError when the README has no sentence for a figure.
    """
    figures = {"the download takes": download}
    figures |= {f"a copy quantized to {bits} bits takes": size for bits, size in saved.items()}
    for words, size in figures.items():
        # The figure belongs to the repo when no other repo is named between the two.
        pattern = rf"(`{re.escape(repo)}`[^`\n]*?{words} ){_FIGURE}"
        readme, count = re.subn(pattern, lambda found, size=size: found[1] + in_words(size), readme)
        if not count:
            raise PortError(
                f"{where} has no `{repo}` followed by '{words} (not measured yet)'; write that sentence there"
            )
    return readme


def in_words(size: int) -> str:
    """Bytes as ``12.3 GB`` (powers of ten, as on download pages)."""
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size / 1000:.1f} kB"
