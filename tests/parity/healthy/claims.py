"""``python -m tests.parity.healthy.claims``: judge what mflux's own ports claim besides text-to-image, and print a
table.

One line for each claim of a family: how many rows pass, and the seconds. Below it each row that fails and is explained
by no true difference. Exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.parity.healthy import matrix
from tests.parity.healthy.claimed import CLAIMED, FLAGS, IMAGE, LARGE_IMAGE, Claimed

ROW = re.compile(
    r"^(?:(?:edit|image|lora|training) (\w+)|(transformer)) +(pass|FAIL|waived|not ported|not run)\b *(.*)$", re.M
)


@dataclass(frozen=True)
class Judged:
    """One claim of one family.

    ``rows``: the state and the rest of the line of each. ``alarms``: rows that nothing explains.
    """

    family: str
    claim: str
    rows: dict[str, tuple[str, str]]
    alarms: tuple[str, ...]
    explained: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> int:
        return sum(state in ("pass", "waived") for state, _ in self.rows.values())


def judge_family(name: str, claims: tuple[str, ...], folder: Path) -> Iterator[Judged]:
    """A twin of the family, and each claim recorded and judged on it."""
    family, home = CLAIMED[name], matrix.prepare(name, folder)
    for image in (IMAGE, LARGE_IMAGE):
        size = tuple(map(int, re.findall(r"\d+", image)))
        Image.effect_noise(size, 64).convert("RGB").save(home / image)
    listed = matrix.run(home, "list_lora.py", [[]])[0]["text"].split() if "lora" in claims else []
    for claim in claims:
        made = matrix.run(home, "run_reference.py", [_recording(name, family, home, claim)])[0]
        if made["code"]:
            yield Judged(name, claim, {}, (f"no recording: {made['text'][-400:]}",), (), made["seconds"])
            continue
        said = matrix.run(home, "run_mflux.py", [_judging(family, claim)])[0]
        yield _judged(family, claim, name, said, made["seconds"], listed)


def _recording(name: str, family: Claimed, home: Path, claim: str) -> list[str]:
    known = matrix.family_of(name)
    words = [*FLAGS[claim], "--model", str(home / "artifacts/tiny")]
    words += ["--guidance", f"{known.guidance:g}"] * (claim in ("edit", "image"))  # nothing is trained with guidance
    words += ["--prompt", known.prompt] * bool(known.prompt)
    words += ["--negative-prompt", known.negative] * bool(known.negative and known.guidance > 1)
    words += [word for call in known.calls for word in ("--call", call)]
    return words + [word for word in family.flags.get(claim, ())]


def _judging(family: Claimed, claim: str) -> list[str]:
    if claim == "training":
        return ["--training", "--port", "ports:Port", "--adapter", f"ports:{family.ports.get(claim, 'Adapter')}"]
    return [f"--{claim}", "--port", f"ports:{family.ports.get(claim, 'Port')}"]


def _judged(family: Claimed, claim: str, name: str, said: dict, before: float, listed: list[str]) -> Judged:
    rows = {one or other: (state, note) for one, other, state, note in ROW.findall(said["text"])}
    if claim == "lora":  # files that the reference or mflux itself refuses are not compared
        rows = {row: found for row, found in rows.items() if found[0] != "not ported"}
    wrong = {row: f"{row} {state} {note}" for row, (state, note) in rows.items() if state not in ("pass", "waived")}
    known = {row: line for row, line in wrong.items() if family.explains(claim, line) or _left_out(line, listed)}
    alarms = [line for row, line in wrong.items() if row not in known]
    if not rows or said["code"] not in (0, 1):
        alarms.append(f"no verdict: {said['text'][-400:]}")
    return Judged(name, claim, rows, tuple(alarms), tuple(known.values()), before + said["seconds"])


def _left_out(line: str, listed: list[str]) -> bool:
    """Whether a LoRA row fails only for keys that the reference applies and mflux's own mapping does not list."""
    keys = re.findall(r"(?:not applied \(key|refused, such as) ([^\s:)]+)", line)
    causes = [part for part in line.split("; ") if "not applied (key" not in part and "refused, such as" not in part]
    return bool(keys) and not causes and not any(_matches(pattern, key) for key in keys for pattern in listed)


def _matches(pattern: str, key: str) -> bool:
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\d+", re.escape(pattern)), key) is not None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.healthy.claims", description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(CLAIMED)}")
    parser.add_argument("--claim", choices=tuple(FLAGS), help="default: all that the family has")
    parser.add_argument("--folder", help="where recordings stay (default: nowhere)")
    args = parser.parse_args()
    alarms = 0
    for name in args.families or CLAIMED:
        claims = tuple(claim for claim in CLAIMED[name].claims if args.claim in (None, claim))
        with tempfile.TemporaryDirectory() as scratch:
            for row in judge_family(name, claims, Path(args.folder or scratch)):
                alarms += len(row.alarms)
                _print(row)
    return 1 if alarms else 0


def _print(row: Judged) -> None:
    verdict = "FALSE ALARM" if row.alarms else "true difference" if row.explained else "ok"
    print(
        f"{row.family:<13}{row.claim:<10}{row.passed:>3} of {len(row.rows):<4}{verdict:<16}{row.seconds:5.0f} s",
        flush=True,
    )
    for line in (*row.alarms, *(f"(known) {line}" for line in row.explained)):
        print(f"      {line}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
