"""One comparison of a loaded port with one recording: weights, stages, modules, and the conclusions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from parity.answers import FAIL, NOT_RUN, WAIVED
from parity.compare import pairing
from parity.compare.limits import Limits
from parity.explain.diagnosis import Diagnosis, Findings
from parity.progress import Progress
from parity.record.recording import Recording
from parity.run import mlx_taps
from parity.run.mlx_port import Port
from parity.run.stages import Judge, Result, components_of
from parity.waivers import Waivers


@dataclass
class Comparison:
    """``passed`` decides the exit code: no stage is out of tolerance and no module or weight is wrong without a waiver."""

    results: list[Result]
    pairing: pairing.Pairing
    findings: Findings = field(default_factory=Findings)
    judge: Judge | None = None

    @property
    def passed(self) -> bool:
        open_ones = any(result.status in (FAIL, NOT_RUN) for result in self.results)
        return not open_ones and self.findings.answer is None


def compare(
    port: Port,
    recording: Recording,
    limits: Limits,
    waivers: Waivers,
    stages: Sequence[str],
    bisect: bool,
    say: Callable[[Result], None] = lambda result: None,
    known: pairing.Pairing | None = None,
) -> Comparison:
    """Judge ``stages`` one after another; ``bisect`` also looks at every module.

    ``say`` is called with each stage's result.

    ``known`` is how the port pairs with another recording of the same checkpoint.
    """
    progress = Progress("port", mx.get_peak_memory)
    progress("its weights")
    found = known or pair(port, recording)
    judge = Judge(port, recording, limits, found, bisect, progress, waivers.module_at)
    judge.decode = "vae_decode" in stages
    comparison = Comparison([], found, judge=judge)
    for stage in stages:
        result = waived(judge.judge(stage), waivers, port, found)
        comparison.results.append(result)
        say(result)
    comparison.findings = Diagnosis(judge).findings(comparison.results, waivers)
    return comparison


def waived(result: Result, waivers: Waivers, port: Port, found: pairing.Pairing) -> Result:
    """A stage's result, which is not a failure where the waivers explain it."""
    if result.status == FAIL:
        modules = _modules_of(result.stage, port, found)
        reason = waivers.stage(result.stage, result.relative)
        reason = reason or waivers.inherited(result.relative, result.limit, modules)
        result.status, result.note = (WAIVED, reason) if reason else (FAIL, result.note)
    return result


def _modules_of(stage: str, port: Port, found: pairing.Pairing) -> list[str]:
    """The paths of the modules that a stage runs. For the VAE, only the half that is run."""
    components = components_of(stage, found)
    other = {"vae_decode": "encoder", "vae_encode": "decoder"}.get(stage, "")
    paths = [path for path in mlx_taps.modules(port.model) if path.split(".")[0] in components]
    return [path for path in paths if not other or other not in path.split(".")]


def pair(port: Port, recording: Recording) -> pairing.Pairing:
    """The pairs of parameters and modules of the port and of the reference."""
    kinds = {path: type(module).__name__ for path, module in mlx_taps.modules(port.model).items()}
    facts = recording.facts
    found = pairing.pair(_parameters(port), kinds, facts["weights"], facts["classes"])
    absent = set(port.unwritten)
    found.faults = [fault for fault in found.faults if fault.parameter.split(".")[0] not in absent]
    return found


def _parameters(port: Port) -> Iterator[tuple[str, np.ndarray]]:
    """All parameters as float32, one component after another."""
    parts = mlx_taps.components(port.model)
    for name in sorted(parts, key=lambda name: "text" in name):  # a run calls the text encoder first
        port.residents.enter(name)
        yield from mlx_taps.parameters(parts[name], name)
