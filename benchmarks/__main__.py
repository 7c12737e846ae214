"""``python -m benchmarks [NAME…]``: measure, print a table, and write the figures to ``benchmarks/figures.json``."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import BYTECODE, Row, table

HERE = Path(__file__).parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {unknown[0]}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for variable in BYTECODE:
        os.environ.pop(variable, None)
    found: list[Row] = []
    for name in names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        found += importlib.import_module(f"benchmarks.bench_{name}").rows()
    print(table(found))
    report = {"machine": f"{platform.system()} {platform.machine()}", "rows": [asdict(row) for row in found]}
    (HERE / "figures.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.kept for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
