"""``python -m fuzz.minimise <target>``: keep each input that reaches a path that no shorter input reaches.

Inputs that once failed are named ``found-…`` and stay.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from fuzz import cases


def main(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")
    seen: set[tuple] = set()
    for path in sorted(cases(name), key=lambda path: path.stat().st_size):
        steps = _steps(target.one, path.read_bytes())
        if steps <= seen and not path.name.startswith("found-"):
            path.unlink()
        seen |= steps


def _steps(one: Callable[[bytes], None], data: bytes) -> set[tuple]:
    # The pairs of lines that ran one after the other, file by file.
    steps: set[tuple] = set()

    def trace(frame, event, argument):
        code = frame.f_code
        if "mflux_port" not in code.co_filename:
            return None
        last = 0

        def local(frame, event, argument):
            nonlocal last
            steps.add((code.co_filename, last, frame.f_lineno))
            last = frame.f_lineno
            return local

        return local

    sys.settrace(trace)
    try:
        one(data)
    finally:
        sys.settrace(None)
    return steps


if __name__ == "__main__":
    main(sys.argv[1])
