"""Run one of the scripts many times in one process. Copied into a family's folder.

``run_many.py SCRIPT`` reads a JSON list of argument lists from standard input, and prints a JSON line for each: the
exit code, the seconds, and what was printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import time
import traceback


def main() -> None:
    script, out = sys.argv[1], sys.stdout
    for arguments in json.load(sys.stdin):
        start, said = time.monotonic(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = _run(script, arguments)
        row = {"code": code, "seconds": round(time.monotonic() - start, 1), "text": said.getvalue()}
        print(json.dumps(row), file=out, flush=True)


def _run(script: str, arguments: list[str]) -> int:
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 - a crash is a result, too
        traceback.print_exc()
        return 70
    return 0


main()
