"""The section ``parity`` of ``waivers.yml``, next to the answers: known and intended differences, each with its reason.

An entry names modules by a pattern (``transformer.*.norm_q``) or a stage, how far they may be off, and why::

    parity:
    - module: "transformer.*.norm_[qk]"
      limit: 1.0e-5
      reason: mflux builds these norms with MLX's default eps of 1e-5; the reference has 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from parity.answers import ALL_STAGES, UNSOUND
from parity.errors import ParityError

MODULE_LIMIT = 1e-5
MOST = 10  # at most this many times a stage's own limit, even if its modules' waivers add up to more
SECTIONS = ("ledger", "parity")  # `mflux-port ledger` reads the other one


@dataclass(frozen=True)
class Waiver:
    """``module`` is a pattern, ``stage`` a stage's name; one of them is set."""

    reason: str
    limit: float
    module: str = ""
    stage: str = ""

    def names(self, module: str) -> bool:
        return bool(self.module) and fnmatchcase(module, self.module)

    def of_module(self, module: str, error: float) -> bool:
        return self.names(module) and error <= self.limit

    def of_stage(self, stage: str, error: float) -> bool:
        return self.stage == stage and error <= self.limit


@dataclass(frozen=True)
class Waivers:
    entries: tuple[Waiver, ...] = ()

    def module(self, verdict) -> str:
        """The reason why a module's verdict is not a fault; empty when it is one."""
        return self.module_at(verdict.module, verdict.local)

    def module_at(self, path: str, error: float) -> str:
        """The reason why an error at a path is not a fault; empty when it is one."""
        return next((entry.reason for entry in self.entries if entry.of_module(path, error)), "")

    def scheme(self, name: str) -> str:
        """The reason for a training scheme; empty if no entry has its name. A pattern of modules does not name one."""
        return next((entry.reason for entry in self.entries if entry.module == name), "")

    def stage(self, stage: str, error: float) -> str:
        """The reason why a stage's error is not a fault; empty when it is one."""
        return next((entry.reason for entry in self.entries if entry.of_stage(stage, error)), "")

    def inherited(self, error: float, limit: float, modules: Iterable[str]) -> str:
        """Why a stage or a block may exceed its limit: modules inside it differ, each by as much as its waiver allows.

        ``modules`` are the paths of these modules, ``limit`` is its own. Empty when the waivers do not cover it.
        """
        paths = list(modules)
        inside = [entry for entry in self.entries if entry.module and any(map(entry.names, paths))]
        allowed = min(MOST * limit, limit + sum(entry.limit for entry in inside))
        if not inside or not error <= allowed:
            return ""
        named = ", ".join(f"{entry.module} ({entry.limit:.1e})" for entry in inside)
        return f"within {allowed:.1e}, its limit and that of the waived {named}"


def read_waivers(path: Path) -> Waivers:
    """None when the file is missing. Raises ParityError for an entry without a reason or with anything unknown."""
    if not path.is_file():
        return Waivers()
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, *UNSOUND) as error:
        raise ParityError(f"{path} is not YAML ({error}); fix it") from None
    if not isinstance(table, dict) or not set(table) <= set(SECTIONS):
        raise ParityError(f"{path} may have the sections {' and '.join(SECTIONS)} only, each a list of entries")
    entries = table.get("parity") or []
    if not isinstance(entries, list):
        raise ParityError(f"{path}: parity must be a list of entries with module or stage, limit and reason")
    return Waivers(tuple(_entry(path, n, entry) for n, entry in enumerate(entries, 1)))


def _entry(path: Path, n: int, entry: object) -> Waiver:
    known = {"module", "stage", "limit", "reason"}
    if not isinstance(entry, dict) or not set(entry) <= known or ("module" in entry) == ("stage" in entry):
        raise ParityError(f"{path}: entry {n} of parity needs either module or stage, then limit and reason")
    if len(str(entry.get("reason") or "").split()) < 3:
        raise ParityError(f"{path}: entry {n} of parity has no reason; write down why the difference is intended")
    if "stage" in entry and (entry["stage"] not in ALL_STAGES or "limit" not in entry):
        raise ParityError(f"{path}: entry {n} of parity needs a limit and one of the stages {', '.join(ALL_STAGES)}")
    try:
        limit = float(entry.get("limit", MODULE_LIMIT))
    except (TypeError, ValueError, OverflowError):
        limit = -1.0
    if not 0 <= limit <= 1:  # without an upper bound it would waive anything; NaN fails this test
        raise ParityError(f"{path}: the limit of entry {n} of parity is not a number from 0 to 1; write it as 1.0e-5")
    return Waiver(str(entry["reason"]).strip(), limit, str(entry.get("module", "")), str(entry.get("stage", "")))
