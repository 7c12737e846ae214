"""The port's own scheduler, from the sigmas that the pipeline used; and whether mflux's scheduler is enough."""

from __future__ import annotations

from mflux_port.draft.pipeline.loop import WHOLE
from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port

_LINEAR = "linspace(1, 1 / steps, steps)"
_BY_MU = {
    "mu linear in the image tokens, base_shift to max_shift": (
        "slope = ({top} - {base}) / ({high} - {low})",
        "mu = {base} + slope * (tokens - {low})",
    ),
    "mu by the square root of the image tokens, base_shift and max_shift": (
        "mu = {base} + {top} * (tokens / {low}) ** 0.5",
    ),
}  # fmt: skip
# FlowMatchEulerDiscreteScheduler's defaults, for values that scheduler_config.json leaves out.
_DEFAULTS = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
_CLASS = """from typing import TYPE_CHECKING

import mlx.core as mx

from mflux.models.common.schedulers.base_scheduler import BaseScheduler

if TYPE_CHECKING:
    from mflux.models.common.config.config import Config


class {name}(BaseScheduler):
    # The sigmas of {pipeline}: {folder}/pipeline_facts.yml says where they were read.
    NUM_TRAIN_TIMESTEPS = 1000

    def __init__(self, config: "Config"):
        self.config = config
        tokens = config.height // {pixels} * (config.width // {pixels})
        self._sigmas = {name}.compute_sigmas(config.num_inference_steps, tokens)
        self._timesteps = self._sigmas[:-1] * {name}.NUM_TRAIN_TIMESTEPS

    @property
    def sigmas(self) -> mx.array:
        return self._sigmas

    @property
    def timesteps(self) -> mx.array:
        return self._timesteps

    def step(self, noise: mx.array, timestep: int, latents: mx.array, **kwargs) -> mx.array:
        dt = (self._sigmas[timestep + 1] - self._sigmas[timestep]).astype(latents.dtype)
        return latents + noise.astype(latents.dtype) * dt

    @staticmethod
    def compute_sigmas(num_inference_steps: int, tokens: int = 4096) -> mx.array:{unused}
        sigmas = {sigmas}
{shift}        sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
{terminal}        return mx.concatenate([sigmas, mx.zeros(1)])
"""


def written(port: Port, facts: dict[str, dict]) -> tuple[str | None, list[Unresolved]]:
    """The scheduler's source for the answer ``own``; None for another, with an open question if that is not enough."""
    fact = facts.get("schedule", {})
    value, packing = fact.get("value"), facts.get("packing", {}).get("value")
    if not value:
        return None, [_open(f"the runs do not explain the schedule: {'; '.join(_said(fact))}", _how_to_go_on(port))]
    if port.scheduler != "own":
        return None, _doubts(port, value)
    lines, factor = _line(value), shift_lines(value)
    if lines is None or factor is None or not packing:
        return None, [_open(f"no scheduler is written for these sigmas: {value}", _how_to_go_on(port))]
    return _text(port, value, lines, factor, _pixels_of_token(packing)), []


def _text(port: Port, value: dict, sigmas: str, factor: list[str], pixels: int) -> str:
    return _CLASS.format(
        name=f"{port.class_name}Scheduler",
        pipeline=port.reference_pipeline,
        folder=port.porting_folder,
        pixels=pixels,
        sigmas=sigmas,
        unused="" if any("tokens" in text for text in factor) else "  # noqa: ARG004",
        shift="".join(f"        {text}\n" for text in factor),
        terminal=_terminal(value["config"].get("shift_terminal")),
    )


def _line(value: dict) -> str | None:
    """The sigmas before the shift, as an expression."""
    shift = value["config"].get("shift", 1.0)
    lines = {
        _LINEAR: "mx.linspace(1.0, 1.0 / num_inference_steps, num_inference_steps)",
        "linspace(1, 0, steps)": "mx.linspace(1.0, 0.0, num_inference_steps)",
        WHOLE: "mx.floor(mx.linspace(1000.0, 1.0, num_inference_steps) + 1e-3) / 1000",
    }
    if value["sigmas"] == "the scheduler's own":
        # Evenly spaced between the shifted ends of the training timesteps.
        static = shift if isinstance(value["shift"], (int, float)) else 1.0
        low = static / 1000 / (1 + (static - 1) / 1000)
        return f"mx.linspace(1.0, {low!r}, num_inference_steps)"
    return lines.get(value["sigmas"]) if isinstance(value["sigmas"], str) else None


def shift_lines(value: dict) -> list[str] | None:
    """Lines that give ``shift``, the factor of the time shift, from ``tokens``; None for a shift that is not known."""
    shift = value.get("shift")
    if isinstance(shift, (int, float)):
        return [f"shift = {float(shift)}"]
    config = _DEFAULTS | value["config"]
    names = {"base": "base_shift", "top": "max_shift", "low": "base_image_seq_len", "high": "max_image_seq_len"}
    numbers = {short: config[key] for short, key in names.items()}
    if shift not in _BY_MU:
        return None
    linear = config.get("time_shift_type", "exponential") == "linear"
    return [
        *(line.format(**numbers) for line in _BY_MU[shift]),
        f"shift = {'mu' if linear else 'mx.exp(mx.array(mu))'}",
    ]


def _terminal(terminal: float | None) -> str:
    if not terminal:
        return ""
    return f"        sigmas = 1 - (1 - sigmas) * (1 - {terminal}) / (1 - sigmas[-1])\n"


def _pixels_of_token(packing: dict) -> int:
    """The pixels along one token of the image, as the pipeline counts tokens for its shift."""
    packed = len(packing["shape"]) == 3
    patch = 2 if not packed or "p = q = 2" in packing.get("pattern", "") else 1
    return packing["pixels"] * patch


def _doubts(port: Port, value: dict) -> list[Unresolved]:
    if value["sigmas"] != _LINEAR:
        why = f"the pipeline's sigmas are {value['sigmas']}, those of {port.scheduler} fall from 1 to 1 / steps"
        return [_open(why, ("answer `own` to the question scheduler, then copy and draft again",))]
    return []


def _said(fact: dict) -> list[str]:
    return list(map(str, fact.get("alternatives", ()))) or [fact.get("where", "they have none")]


def _how_to_go_on(port: Port) -> tuple[str, ...]:
    """What a porter does with a schedule that is not written."""
    file = f"{port.folder}/model/{port.model}_scheduler/{port.model}_scheduler.py"
    own = () if port.scheduler == "own" else ("answer `own` to the question scheduler, then copy and draft again",)
    return (*own, f"port the reference's sigmas and step in {file}; run_mflux.py judges them in the stage scheduler")


def _open(why: str, candidates: tuple[str, ...]) -> Unresolved:
    return Unresolved("pipeline", "schedule", why, candidates)
