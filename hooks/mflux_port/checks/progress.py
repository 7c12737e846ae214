"""The progress of a port in the guide's order, judged by its evidence."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import rules_when
from mflux_port.checks.engine.rule import FAIL, MERGE, PASS
from mflux_port.checks.engine.run_rules import Row, ask

# A step is reached when all of its stages are proven.
PROOFS = {
    "VAE": ("vae_decode", "vae_encode"),
    "transformer": ("transformer", "guidance", "scheduler", "loop"),
    "text encoder": ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"),
    "end to end": ("end_to_end",),
}
STEPS = ("wired", *PROOFS, "golden", "merge-ready")
_GOLDEN = ("TST01", "TST04", "TST05")


class Progress(NamedTuple):
    """``steps`` says for each of STEPS whether it is reached; ``rows`` are those of ``check --merge``."""

    model: str
    steps: dict[str, bool]
    rows: list[Row]

    @property
    def reached(self) -> str:
        """The last step before the first open one; ``rendered`` when not even the first is reached."""
        done = "rendered"
        for name, holds in self.steps.items():
            if not holds:
                return done
            done = name
        return done

    @property
    def golden(self) -> list[Row]:
        """The rows about the golden test and its image."""
        return [row for row in self.rows if row.rule in _GOLDEN]


def open_surfaces(package: Package) -> list[str]:
    """The shared files whose lines are missing, or are not those of the answers."""
    return [r.surface for r in package.surfaces.values() if r.state in ("absent", "stale", "unknown shape")]


def progress(package: Package) -> Progress:
    """Determine the progress of a port from its files."""
    found, wanted = evidence.stages(package), evidence.wanted(package)
    rows = [ask(rule, package) for rule in rules_when(MERGE)]
    steps = {"wired": not open_surfaces(package)}
    for name, stages in PROOFS.items():
        steps[name] = all(stage in found and found[stage].proven for stage in stages if stage in wanted)
    steps["golden"] = all(row.state == PASS for row in rows if row.rule in _GOLDEN)
    steps["merge-ready"] = not any(row.state == FAIL for row in rows)
    return Progress(package.model, steps, rows)
