"""The lines of a file, for README, CHANGELOG and .gitignore."""

from __future__ import annotations

from mflux_port.wiring.source import Source, once


@once
def lines_with_spans(source: Source) -> list[tuple[str, tuple[int, int]]]:
    """Every line (decoded, without its ending) and its span with the ending."""
    spans = zip(source.starts, source.starts[1:], strict=False)
    return [(source.data[start:stop].decode("utf-8", "replace").rstrip("\r\n"), (start, stop)) for start, stop in spans]
