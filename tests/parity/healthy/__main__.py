"""``python -m tests.parity.healthy``: judge mflux's own ports in all settings and print a table.

Takes about 40 minutes.

One line for each judged run; below it each line of the harness that no true difference explains. Exits with 1 if there
is any.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.parity.healthy import matrix
from tests.parity.healthy.families import FAMILIES
from tests.parity.healthy.settings import DTYPES, WHOLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.healthy", description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(FAMILIES)}")
    parser.add_argument(
        "--only", nargs="*", default=[""], help="settings with one of these in their name, such as modules-oblong"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="default: both")
    parser.add_argument("--folder", help="where recordings stay (default: nowhere)")
    args = parser.parse_args()
    settings = tuple(setting for setting in WHOLE if any(part in setting.slug for part in args.only))
    start, judged = time.monotonic(), []
    for name in args.families or FAMILIES:
        with tempfile.TemporaryDirectory() as scratch:
            for row in matrix.judge_family(
                name, settings, Path(args.folder or scratch), (args.dtype,) if args.dtype else DTYPES
            ):
                judged.append(row)
                _print(row)
    _summary(judged, time.monotonic() - start)
    return 1 if any(row.alarms for row in judged) else 0


def _print(row: matrix.Judged) -> None:
    verdict = "FALSE ALARM" if row.alarms else "true difference" if row.explained else "ok"
    print(f"{row.family:<13}{row.dtype:<10}{row.setting!s:<45}{verdict:<16}{row.seconds:5.0f} s", flush=True)
    for line in row.alarms:
        print(f"      {line}", flush=True)


def _summary(judged: list[matrix.Judged], seconds: float) -> None:
    alarms = [line for row in judged for line in row.alarms]
    found = [line for line in alarms if line.startswith("look at ")]
    print(
        f"{len(judged)} judged runs of {len({row.family for row in judged})} families in {seconds / 60:.0f} minutes: "
        f"{sum(bool(row.alarms) for row in judged)} with a false alarm, {len(alarms) - len(found)} of "
        f"{sum(row.stages for row in judged)} stage verdicts, {len(found)} of {sum(row.findings for row in judged)} findings"
    )


if __name__ == "__main__":
    raise SystemExit(main())
