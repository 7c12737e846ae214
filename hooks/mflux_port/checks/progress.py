"""Where a port stands in the guide's order, from evidence."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.evaluate import ask
from mflux_port.checks.engine.facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import rules_when
from mflux_port.checks.engine.rule import FAIL, MERGE, NEEDS_YOU, PASS

# A step is reached when all of its stages are proven.
_PROOFS = {
    "VAE": ("vae_decode", "vae_encode"),
    "transformer": ("transformer", "guidance", "scheduler", "loop"),
    "text encoder": ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"),
    "end to end": ("end_to_end",),
}
STEPS = ("wired", *_PROOFS, "golden", "merge-ready")


class Progress(NamedTuple):
    """``steps`` tells for each of STEPS if it is reached; ``lacks`` says what the first open one needs."""

    model: str
    steps: dict[str, bool]
    lacks: str

    @property
    def reached(self) -> str:
        """The last step before the first open one; ``rendered`` when not even the first is reached."""
        done = "rendered"
        for name, holds in self.steps.items():
            if not holds:
                return done
            done = name
        return done


def progress(facts: Facts, model: str) -> Progress:
    """Ask the files of ``model`` how far it is."""
    package = Package(facts, model)
    found, wanted = evidence.stages(package), evidence.wanted(package)
    open_surfaces = [r.surface for r in package.surfaces.values() if r.state in ("absent", "stale", "unknown shape")]
    steps, lacks = {"wired": not open_surfaces}, {"wired": f"mflux-port wire {model} ({', '.join(open_surfaces)})"}
    for name, stages in _PROOFS.items():
        left = [stage for stage in stages if stage in wanted and not (stage in found and found[stage].proven)]
        steps[name] = not left
        lacks[name] = _proof(found, left[0], model) if left else ""
    rows = [ask(rule, package) for rule in rules_when(MERGE)]
    golden = [row for row in rows if row.rule in ("TST01", "TST04", "TST05")]
    steps["golden"] = all(row.state == PASS for row in golden)
    lacks["golden"] = next((row.fix for row in golden if row.state != PASS), "")
    failing = [row for row in rows if row.state == FAIL]
    steps["merge-ready"] = not failing
    yours = sum(row.state == NEEDS_YOU for row in rows)
    lacks["merge-ready"] = f"mflux-port check {model} --merge ({len(failing)} fail, {yours} need you)"
    return Progress(model, steps, next((lacks[name] for name, holds in steps.items() if not holds), ""))


def _proof(found: dict[str, evidence.Box], stage: str, model: str) -> str:
    """The command that proves a stage; with the reason, where its box is ticked or was run and does not count."""
    box = found.get(stage)
    if box is None:
        return f"the box of {stage} in porting/{model}/PORTING.md; restore its line with `git checkout`"
    command = box.commands(model)
    return command if box.problem == evidence.OPEN else f"{command} ({stage} {box.problem})"
