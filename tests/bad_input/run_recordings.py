"""Runs a port's parity scripts on damaged files, in place, all in one process.

Usage: run_recordings.py <porting folder>, a JSON list of cases on stdin: each has files (name: text in Latin-1, or None
to remove the file) and argv, a script's name and its arguments. Prints for each: exit code, stdout, stderr, and the
names of the files that it changed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import traceback
from pathlib import Path

HOME = Path(sys.argv[1])
sys.path.insert(0, str(HOME))


def main() -> None:
    print(json.dumps([run(**case) for case in json.load(sys.stdin)]))


def run(files: dict[str, str | None], argv: list[str]) -> list:
    before = contents()
    put({name: text if text is None else text.encode("latin-1") for name, text in files.items()})
    damaged = contents()
    code, out, err = call(argv)
    now = contents()
    put({name: before.get(name) for name in before.keys() | now.keys() if before.get(name) != now.get(name)})
    changed = sorted(name for name in damaged.keys() | now.keys() if damaged.get(name) != now.get(name))
    return [code, out, err, changed]


def call(argv: list[str]) -> tuple[object, str, str]:
    from parity import errors

    out, err, code = io.StringIO(), io.StringIO(), None
    sys.argv = argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            errors.run(importlib.import_module(argv[0].removesuffix(".py")).main)
        except SystemExit as stop:
            code = stop.code
        except Exception:  # noqa: BLE001 - the test looks for any error that escapes
            traceback.print_exc()
    return code, out.getvalue(), err.getvalue()


def put(files: dict[str, bytes | None]) -> None:
    for name, data in files.items():
        path = HOME / name
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def contents() -> dict[str, bytes]:
    files = (path for path in HOME.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(HOME)): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
