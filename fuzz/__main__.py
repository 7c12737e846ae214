"""``python -m fuzz <target> [libFuzzer's options, such as -max_total_time=600]``

Fuzzes until an input raises; new inputs go into the corpus. Then ``python -m fuzz.minimise`` removes redundant ones.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

import atheris

from fuzz import CORPUS, TARGETS


def main(name: str, *options: str) -> None:
    with atheris.instrument_imports(include=["mflux_port"]):
        target = importlib.import_module(f"fuzz.{name}")
    folder = CORPUS / name
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))  # not removed: the fuzzer ends the process without cleaning up
    words = home / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
    atheris.Setup(
        [sys.argv[0], f"-dict={words}", f"-max_len={target.LONGEST}", "-len_control=0", *options, str(folder)],
        target.one,
    )
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"type one of {', '.join(TARGETS)}")
    main(*sys.argv[1:])
