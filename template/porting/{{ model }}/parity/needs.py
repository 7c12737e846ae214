"""What a run needs: memory from the headers of the checkpoint's files, seconds from an earlier run that was timed."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from pathlib import Path

from parity.devices import LESS
from parity.files import write_text

SPARE = 1.1  # times the largest network: a VAE or a small encoder stays with it
CONTAINER = Path("/sys/fs/cgroup/memory.max")
WIDTHS = {"float32": 4, "bfloat16": 2, "float64": 8}


def weights(folder: Path, dtype: str) -> int:
    """Bytes of a checkpoint's networks that are in memory together, by the headers of its files."""
    return together(_networks(folder, dtype))


def largest(folder: Path, dtype: str) -> int:
    """Bytes of a checkpoint's largest network in memory."""
    return max(_networks(folder, dtype), default=0)


def largest_file(folder: Path) -> int:
    """Bytes of the files of the largest network."""
    return max(
        (sum(file.stat().st_size for file in part.glob("*.safetensors")) for part in folder.iterdir()), default=0
    )


def together(sizes: list[int]) -> int:
    """The largest network plus a tenth of it, or all networks if that is less."""
    return int(min(sum(sizes), SPARE * max(sizes, default=0)))


def machine(container: Path = CONTAINER) -> int:
    """Bytes of memory that this machine has, or its container; 0 where the system does not report it."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    try:
        return min(whole, int(container.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return whole


def in_words(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def of_memory(loaded: float, beside: float, have: int, less: str = LESS) -> str:
    """``loaded``: bytes of weights; ``beside``: of everything else; ``have``: the machine's memory, 0 if unknown."""
    text = f"{in_words(loaded + beside)} of memory ({in_words(loaded)} of weights, {in_words(beside)} for the rest)"
    return f"{text}, this machine has {in_words(have)}: {less}" if 0 < have < loaded + beside else text


def lacking_disk(size: float, path: Path) -> str:
    """What to say if ``size`` bytes do not fit where ``path`` is written; empty if they do."""
    folder = next(folder for folder in path.resolve().parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    return f", that disk has {in_words(free)} left: --blocks and --module take less" if free < size else ""


class Timings:
    """How long runs took, by side and setting. Kept in ``artifacts/timings.json``; a broken file counts as empty."""

    def __init__(self, artifacts: Path):
        self.path = artifacts / "timings.json"
        try:
            self.known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        if not isinstance(self.known, dict):
            self.known = {}

    def keep(self, key: str, progress, steps: int) -> None:
        """Store what ``progress`` timed in a run of ``steps`` steps."""
        self.known[key] = {"seconds": progress.seconds, "steps": steps, "step": progress.seconds_of_a_step()}
        write_text(self.path, json.dumps(self.known))

    def sentence(self, key: str, steps: int) -> str:
        """The seconds of a run of ``steps``, from a run of the same setting whose steps were timed."""
        try:
            timed = self.known[key]
            seconds = timed["seconds"] + timed["step"] * (steps - timed["steps"])
        except (KeyError, TypeError, ZeroDivisionError):
            return (
                "seconds: unknown until one run of this checkpoint and size has been timed; --steps 1 is the shortest"
            )
        return f"{seconds:.0f} s, by the steps of a run that took {timed['seconds']:.0f} s"


def _networks(folder: Path, dtype: str) -> list[int]:
    parts = [part for part in folder.iterdir() if part.is_dir()]
    return [sum(map(_numbers, part.glob("*.safetensors"))) * WIDTHS[dtype] for part in parts]


def _numbers(path: Path) -> int:
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
