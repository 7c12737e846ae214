"""Insert texts into a file's bytes and remove them; every other byte stays."""

from __future__ import annotations

from mflux_port.wiring.block import Span
from mflux_port.wiring.source import Source, UnknownShape

Edit = tuple[Span, bytes]


def spliced(source: Source, edits: list[Edit]) -> bytes:
    """The file's bytes after ``edits``. Raises UnknownShape when two of them overlap."""
    data = source.data
    # Apply edits from the end of the file, so that offsets stay valid; texts for the same place keep their order.
    for span, text in reversed(_merged(source, edits)):
        data = data[: span[0]] + text + data[span[1] :]
    return data


def _merged(source: Source, edits: list[Edit]) -> list[Edit]:
    # Adjacent removals become one. Removing a last line without a newline also removes the newline before it.
    merged: list[Edit] = []
    for (start, stop), text in sorted(edits, key=lambda edit: edit[0]):
        if merged and not text and not merged[-1][1] and start <= merged[-1][0][1] and stop > start:
            merged[-1] = ((merged[-1][0][0], max(stop, merged[-1][0][1])), b"")
        elif merged and start < merged[-1][0][1]:
            line = source.data.count(b"\n", 0, start) + 1
            raise UnknownShape(f"{source.path} line {line}: two texts of the port overlap; put each on its own lines")
        else:
            merged.append(((start, stop), text))
    if merged and not merged[-1][1] and merged[-1][0] != (0, len(source.data)):
        (start, stop), _ = merged[-1]
        if stop == len(source.data) and not source.data.endswith(b"\n"):
            before = source.data[:start]
            merged[-1] = ((len(before.removesuffix(b"\n").removesuffix(b"\r")), stop), b"")
    return merged
