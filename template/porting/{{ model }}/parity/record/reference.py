"""Run a diffusers pipeline once and record it: the PyTorch half of the comparison."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import inspect
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from parity.errors import ParityError
from parity.record import components
from parity.record.calibration import CalibrationRecorder, write_calibration
from parity.record.recording import ROOM, Recorder, Recording
from parity.record.torch_taps import BLOCKS, STAGES, TorchTaps, classes, weights

CAP = 1 << 20  # elements kept of one tensor when whole blocks of a large image are recorded


@dataclass(frozen=True)
class Run:
    """What to run: one prompt, one size, one noise."""

    model: Path
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float
    dtype: str
    device: str
    level: str
    only: str
    all_steps: bool

    @property
    def recorded_steps(self) -> set[int] | None:
        return None if self.all_steps else {0, self.steps - 1}

    @property
    def cap(self) -> int | None:
        return CAP if self.level == BLOCKS else None

    @property
    def room(self) -> int:
        """Bytes for the recording's table of contents: thousands of tensors, where modules are recorded."""
        return ROOM if self.level == STAGES else 8 * ROOM


def load(run: Run, expected: str):
    """The pipeline, in the run's dtype. Raises ParityError when the folder holds another pipeline than ``expected``."""
    import diffusers

    kind = components.pipeline_class(run.model, expected)
    for name, (library, part) in components.read_index(run.model)[1].items():
        components.component_class(library, part, run.model / name)  # what a part lacks is said in one line
    components.header_digest(run.model)  # a file that is cut off gives one line instead of a traceback
    try:
        pipe = kind.from_pretrained(str(run.model), torch_dtype=getattr(torch, run.dtype))
    except Exception as error:  # noqa: BLE001 - a folder with another family's parts in it raises whatever its classes do
        raise ParityError(
            f"{run.model} cannot be loaded as {kind.__name__}: {first_line(error)}; install what it asks for, or download the checkpoint again"
        ) from None
    diffusers.utils.logging.set_verbosity_error()
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(run.device)


def record(pipe, run: Run, path: Path, calibrate: bool) -> Recording:
    """Run and write ``path``; with ``calibrate`` a second time in bfloat16, for the gaps beside it."""
    facts = facts_of(pipe, run)
    half = run.dtype == "bfloat16" or run.level == BLOCKS
    with Recorder(path, facts, cap=run.cap, half=half, room=run.room) as sink, _told_in_one_line(pipe, run):
        run_once(pipe, run, sink)
    recording = Recording(path)
    if calibrate and run.dtype == "float32":
        pipe.to(torch.bfloat16)
        write_calibration(path.with_suffix(".gaps.json"), _gaps(pipe, run, recording), facts["run"])
    return recording


@contextlib.contextmanager
def _told_in_one_line(pipe, run: Run) -> Iterator[None]:
    # A checkpoint whose parts do not fit together raises whatever the reference does.
    try:
        yield
    except (ParityError, OSError):
        raise
    except Exception as error:  # noqa: BLE001
        last = traceback.extract_tb(error.__traceback__)[-1]
        cure = "mend what it names, or install the diffusers that the checkpoint was made for"
        if (run.model / "sizes.json").is_file():
            cure = "mend the twin's sizes with OVERRIDES in make_tiny_checkpoint.py"
        raise ParityError(
            f"{type(pipe).__name__} failed on {run.model}: {type(error).__name__}: {first_line(error)} "
            f"({Path(last.filename).name} line {last.lineno}); {cure}"
        ) from None


def _gaps(pipe, run: Run, recording: Recording) -> dict[str, float]:
    """Each event's gap when its stage has the float32 run's input; ``free:`` ones of a run that is left alone."""
    forced = CalibrationRecorder(recording)
    _pass(pipe, run, forced, noise=_noise(recording), given=recording)
    if run.level != STAGES:
        return forced.gaps
    free = CalibrationRecorder(recording)
    _pass(pipe, run, free, noise=_noise(recording))
    return forced.gaps | {f"free:{name}": gap for name, gap in free.gaps.items()}


def facts_of(pipe, run: Run) -> dict:
    """All that a later comparison must know about the run."""
    facts = {
        "pipeline": type(pipe).__name__,
        "model": str(run.model.resolve()),
        "checkpoint": components.header_digest(run.model),
        **{name: getattr(run, name) for name in ("prompt", "negative_prompt", "seed", "width", "height", "steps")},
        **{name: getattr(run, name) for name in ("guidance", "dtype", "device", "level", "only", "all_steps")},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")},
        "normalisation": normalisation(pipe),
        "weights": weights(pipe),
        "classes": classes(pipe),
    }
    facts["run"] = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]
    return facts


def normalisation(pipe) -> dict:
    """How the pipeline's VAE latents are normalised: ``shift`` and ``scale``, or lists of ``mean`` and ``std``."""
    config = getattr(getattr(pipe, "vae", None), "config", {})
    if config.get("latents_mean") is not None:
        return {"mean": list(config["latents_mean"]), "std": list(config["latents_std"])}
    if config.get("scaling_factor") is not None:
        return {"shift": config.get("shift_factor") or 0.0, "scale": config["scaling_factor"]}
    return {"shift": 0.0, "scale": 1.0}


def run_once(pipe, run: Run, sink) -> None:
    """Run the pipeline once and record it into ``sink``."""
    _pass(pipe, run, sink, noise=None)


@torch.no_grad()
def _pass(pipe, run: Run, sink, noise: torch.Tensor | None, given: Recording | None = None) -> None:
    taps = TorchTaps(sink, run.level, run.only, run.recorded_steps, given)
    with taps.attached(pipe), _noise_from(pipe, taps, noise):
        pipe(**call_arguments(pipe, run))
        scheduler = pipe.scheduler
        taps.record("scheduler/scheduler/out/0", torch.as_tensor(scheduler.sigmas).float())
        taps.record("scheduler/scheduler/out/1", torch.as_tensor(scheduler.timesteps).float())
        _encode_image(pipe, sink)


def call_arguments(pipe, run: Run) -> dict:
    """The pipeline's call, with the names that this pipeline has for guidance and the rest."""
    wanted = {
        "prompt": run.prompt,
        "negative_prompt": run.negative_prompt or None,
        "height": run.height,
        "width": run.width,
        "num_inference_steps": run.steps,
        "guidance_scale": run.guidance,
        "true_cfg_scale": run.guidance,
        "generator": torch.Generator("cpu").manual_seed(run.seed),
        "output_type": "np",
        "use_resolution_binning": False,  # it draws another size than was asked for, and scales the image
        # A prompt that another model rewrites is no common ground.
        "use_pe": False,
        "enable_prompt_rewrite": False,
    }
    known = inspect.signature(pipe.__call__).parameters
    return {name: value for name, value in wanted.items() if name in known and value is not None}


@contextlib.contextmanager
def _noise_from(pipe, taps: TorchTaps, noise: torch.Tensor | None) -> Iterator[None]:
    modules = {
        sys.modules[kind.__module__]
        for kind in type(pipe).__mro__
        if hasattr(sys.modules[kind.__module__], "randn_tensor")
    }
    if not modules:
        yield
        return
    original = next(iter(modules)).randn_tensor

    def randn_tensor(*args, **kwargs):
        drawn = original(*args, **kwargs)
        if noise is not None and noise.numel() == drawn.numel():
            drawn = noise.reshape(drawn.shape).to(drawn)
        taps.record("noise/pipeline/out/0", drawn)
        return drawn

    for module in modules:
        module.randn_tensor = randn_tensor
    try:
        yield
    finally:
        for module in modules:
            module.randn_tensor = original


def _noise(recording: Recording) -> torch.Tensor | None:
    name = "noise/pipeline/out/0"
    return torch.from_numpy(recording.get(name)) if name in recording else None


def _encode_image(pipe, sink) -> None:
    # The decoded image goes back through the encoder; a reference without an encoder simply has no such stage.
    if not hasattr(pipe.vae, "encode") or getattr(pipe.vae, "encoder", None) is None:
        return
    values = sink.read("vae_decode/vae/out/0")
    pipe.vae.encode(torch.from_numpy(values).to(pipe.vae.device, pipe.vae.dtype))


def first_line(error: Exception) -> str:
    """An error's first line, short enough for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
