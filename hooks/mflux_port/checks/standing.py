"""Where a port stands in the guide's order, from evidence."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checks import evidence
from mflux_port.checks.catalogue import RULES
from mflux_port.checks.evaluate import ask, in_order
from mflux_port.checks.facts import Facts
from mflux_port.checks.package import Package
from mflux_port.checks.rule import ALWAYS, FAIL, MERGE, NEEDS_YOU, PASS

# A step is reached when all of its stages are proven.
_PROOFS = {
    "VAE": ("vae_decode", "vae_encode"),
    "transformer": ("transformer", "scheduler", "loop"),
    "text encoder": ("text_encoder",),
    "end to end": ("end_to_end",),
}
STEPS = ("wired", *_PROOFS, "golden", "merge-ready")


class Standing(NamedTuple):
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


def standing(facts: Facts, model: str) -> Standing:
    """Ask the files of ``model`` how far it is."""
    package = Package(facts, model)
    found = evidence.stages(facts, model)
    open_surfaces = [r.surface for r in package.surfaces.values() if r.state in ("absent", "stale", "unknown shape")]
    steps, lacks = {"wired": not open_surfaces}, {"wired": f"mflux-port wire {model} ({', '.join(open_surfaces)})"}
    for name, stages in _PROOFS.items():
        left = [stage for stage in stages if not (stage in found and found[stage].proven)]
        steps[name] = not left
        lacks[name] = f"uv run python porting/{model}/run_mflux.py --stage {left[0]}" if left else ""
    golden = [ask(RULES[name], package) for name in ("TST01", "TST04", "TST05")]
    steps["golden"] = all(row.state == PASS for row in golden)
    lacks["golden"] = next((row.fix for row in golden if row.state != PASS), "")
    rows = [ask(rule, package) for rule in in_order() if rule.when in (ALWAYS, MERGE)]
    failing = [row for row in rows if row.state == FAIL]
    steps["merge-ready"] = not failing
    yours = sum(row.state == NEEDS_YOU for row in rows)
    lacks["merge-ready"] = f"mflux-port check {model} --merge ({len(failing)} fail, {yours} need you)"
    return Standing(model, steps, next((lacks[name] for name, holds in steps.items() if not holds), ""))
