"""Run a diffusers pipeline once and record it: the PyTorch half of the comparison."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from parity import devices
from parity.errors import ParityError
from parity.progress import Progress, of_stage
from parity.record import components, edit, guidance, sizes
from parity.record.calibration import GAPS, CalibrationRecorder, Calibrations, write_calibration
from parity.record.probe import Reached, find_orders, noise_changed
from parity.record.recording import HEADER_ROOM, LONG_HEADER_ROOM, Recorder, Recording
from parity.record.resident_networks import Parts, peak
from parity.record.torch_taps import MODULES, STAGES, TorchTaps, classes

# Elements kept of one tensor of a large image: for whole blocks, and for the modules inside one.
CAP, CAP_INSIDE = 1 << 18, 1 << 22
NOISE = "noise/pipeline/out/0"
SETTING = (  # the facts that a calibration depends on; the choice of recorded tensors is not among them
    "pipeline", "checkpoint", "prompt", "negative_prompt", "seed", "width", "height", "steps", "guidance", "device",
    "versions", "call", "images",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The settings of one run.

    ``unguided``: one prediction per step, at the value of ``guidance`` with which this pipeline makes one.
    ``guided_port``: the port can combine several. ``call`` holds more arguments of the pipeline's call, ``images`` the
    input images of an edit pipeline.
    """

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
    unguided: bool = False
    guided_port: bool = True
    call: dict = field(default_factory=dict)
    images: tuple[Path, ...] = ()

    @property
    def recorded_steps(self) -> set[int] | None:
        return None if self.all_steps else {0, self.steps - 1}

    @property
    def cap(self) -> int | None:
        if self.level == MODULES:
            return CAP_INSIDE if self.only else None
        return CAP

    @property
    def timed(self) -> str:
        """The setting that decides how long a step takes."""
        return f"{self.model.resolve()} {self.width}x{self.height} {self.dtype} {self.device} {self.level} {self.only}"

    @property
    def room(self) -> int:
        """Bytes for the recording's table of contents: thousands of tensors if modules are recorded."""
        return HEADER_ROOM if self.level == STAGES else LONG_HEADER_ROOM


@dataclass
class Reference:
    """A pipeline and its networks, which are in memory when they run."""

    pipe: object
    parts: Parts
    progress: Progress


def load(run: Run, expected: str, keep: bool = False) -> Reference:
    """The pipeline, in the run's dtype; ``keep`` leaves all of it in memory.

    Raises ParityError when the folder's pipeline is not ``expected``.
    """
    import diffusers

    kind = components.pipeline_class(run.model, expected)
    for name, (library, part) in components.read_index(run.model)[1].items():
        components.component_class(library, part, run.model / name)  # report a part's missing requirement in one line
    components.header_digest(run.model)  # a file that is cut off gives one line instead of a traceback
    diffusers.utils.logging.set_verbosity_error()
    progress = Progress("reference", lambda: peak(run.device))
    try:
        own = {"trust_remote_code": True} if components.has_own_code(run.model) else {}  # it was already run above
        parts = Parts(run.model, getattr(torch, run.dtype), run.device, keep, progress)
        pipe = kind.from_pretrained(str(run.model), torch_dtype=getattr(torch, run.dtype), **own, **parts.networks)
    except Exception as error:  # noqa: BLE001 - parts of another family may raise any error
        _stop_if_lacking(error, run)
        raise ParityError(
            f"{run.model} cannot be loaded as {kind.__name__}: {first_line(error)}; install what it needs, or download the checkpoint again"
        ) from None
    pipe.set_progress_bar_config(disable=True)
    return Reference(pipe, parts, progress)


def record(reference: Reference, run: Run, path: Path, calibrate: bool) -> Recording:
    """Run and write ``path``; with ``calibrate`` run again in bfloat16 and write the gaps next to it."""
    pipe, parts, progress = reference.pipe, reference.parts, reference.progress
    with _told_in_one_line(pipe, run):
        asked, run = run.guidance, guidance.settle(pipe, run, _noise_size(pipe, run), call)
    facts = facts_of(pipe, run) | {"weights": parts.weights}
    facts["run"] = _digest(facts)
    half = run.dtype == "bfloat16"
    facts["calibrated"] = calibrate and not half
    with Recorder(path, facts, cap=run.cap, half=half, room=run.room) as sink, _told_in_one_line(pipe, run):
        parts.remember = run.level == STAGES  # otherwise the insides of the networks are recorded
        taps = _pass(pipe, run, sink, began=lambda stage: progress(of_stage(stage, run.steps)))
        _add_orders(pipe, run, sink, taps, facts)
        _note_size(pipe, run, sink.read("vae_decode/vae/out/0").shape, facts)
    print(guidance.sentence(run, facts["applied"], asked))
    recording = Recording(path)
    if facts["calibrated"]:
        with _told_in_one_line(pipe, run):
            _calibrate(reference, run, recording, facts)
    return recording


def _calibrate(reference: Reference, run: Run, recording: Recording, facts: dict) -> None:
    """Write the gaps next to a recording: those of an earlier run of the same checkpoint and setting, else new ones."""
    setting = _digest({name: value for name, value in facts.items() if name in SETTING})
    known = Calibrations(recording.path.parent, setting)
    if not known.covers(recording, free=run.level == STAGES):
        reference.progress("a second time in bfloat16, for the limits")
        reference.parts.change(torch.bfloat16)
        gaps = _gaps(reference.pipe, run, recording)
        if reference.parts.rounds:
            reference.progress("a third time in float32, with the weights in bfloat16")
            reference.parts.change(torch.float32)
            gaps |= _gaps_of_weights(reference.pipe, run, recording)
        known.add(recording, gaps)
    write_calibration(recording.path.with_suffix(GAPS), known.gaps, facts["run"])


def _digest(facts: dict) -> str:
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]


def _add_orders(pipe, run: Run, sink: Recorder, taps: TorchTaps, facts: dict) -> None:
    """Record in which order the pipeline packs its latents, and its transformer's input names."""
    size = sink.read("loop/scheduler.0/in/1").size
    with edit.encoded_once(pipe, run.images) as encoded:

        def again() -> None:
            encoded.restart()
            call(pipe, run)

        found, known = find_orders(pipe, again, taps.outputs, size, taps.step)
        found |= edit.conditions(pipe, again, taps.outputs, taps.arguments, encoded)
    for name, ids in found.items():
        sink.add(name, ids, whole=True)
    facts |= {"denoisers": {}, "sign": 1.0} | known
    facts["arguments"] = taps.arguments
    facts["applied"] = guidance.applied(pipe, run, taps.arguments, _branches(sink, facts))


def _note_size(pipe, run: Run, shape: tuple[int, ...], facts: dict) -> None:
    """The size of the result: the requested one, or the one that the pipeline derives from the input image."""
    if {"width", "height"} <= inspect.signature(pipe.__call__).parameters.keys():
        sizes.verify_drawn(shape, run.width, run.height, run.model)
    facts |= {"width": shape[-1], "height": shape[-2]}


def _branches(sink: Recorder, facts: dict) -> int:
    """The number of predictions in the first step."""
    total = 0
    for stage, names in facts["arguments"].items():
        component, step, *_ = stage.split(".")
        known = facts["denoisers"].get(component)
        if step != "0" or known is None:
            continue
        places = [n for n, name in enumerate(names) if name.partition(".")[0] == known["latents"]]
        total += len(places) if known["listed"] else len(sink.read(f"{stage}/{component}/in/{places[0]}"))
    return max(total, 1)


def _noise_size(pipe, run: Run) -> int:
    """The number of elements in the noise that the pipeline draws."""
    drawn: list[int] = []

    def stop(tensor: torch.Tensor) -> torch.Tensor:
        drawn.append(tensor.numel())
        raise Reached

    with contextlib.suppress(Reached), torch.no_grad(), noise_changed(pipe, stop):
        call(pipe, run)
    return drawn[0] if drawn else 0


def call(pipe, run: Run) -> None:
    """Run the pipeline once, without gradients."""
    with torch.no_grad(), edit.most_likely(run.images):
        guidance.set_guider(pipe, run.guidance)
        pipe(**call_arguments(pipe, run))


@contextlib.contextmanager
def _told_in_one_line(pipe, run: Run) -> Iterator[None]:
    # A checkpoint whose parts do not match fails with any error of the reference.
    try:
        yield
    except (ParityError, OSError):
        raise
    except Exception as error:  # noqa: BLE001
        _stop_if_lacking(error, run)
        last = traceback.extract_tb(error.__traceback__)[-1]
        cure = "fix what it names, or install the diffusers that the checkpoint was made for"
        if (run.model / "sizes.json").is_file():
            cure = "fix the twin's sizes with OVERRIDES in make_tiny_checkpoint.py"
        raise ParityError(
            f"{type(pipe).__name__} failed on {run.model}: {type(error).__name__}: {first_line(error)} "
            f"({Path(last.filename).name} line {last.lineno}); {cure}"
        ) from None


def _stop_if_lacking(error: Exception, run: Run) -> None:
    cure = f"{devices.ON_CPU}, or set PYTORCH_ENABLE_MPS_FALLBACK=1" if run.device == "mps" else devices.ON_CPU
    devices.stop_if_lacking(error, f"PyTorch on {run.device}", cure)


def _gaps(pipe, run: Run, recording: Recording) -> dict[str, float]:
    """Each event's gap when its stage has the float32 run's input; ``free:`` gaps come from an unforced run."""
    forced = CalibrationRecorder(recording)
    _pass(pipe, run, forced, noise=_noise(recording), given=recording)
    free = CalibrationRecorder(recording)  # gaps of the stages, at every level: the loop is judged in all recordings
    _pass(pipe, replace(run, level=STAGES), free, noise=_noise(recording))
    return forced.gaps | {f"free:{name}": gap for name, gap in free.gaps.items()}


def _gaps_of_weights(pipe, run: Run, recording: Recording) -> dict[str, float]:
    """``rounded:`` gaps of the stages are the effect of rounding the weights alone."""
    rounded = CalibrationRecorder(recording)
    _pass(pipe, replace(run, level=STAGES), rounded, noise=_noise(recording), given=recording)
    return {f"rounded:{name}": gap for name, gap in rounded.gaps.items()}


def facts_of(pipe, run: Run) -> dict:
    """The facts about the run that a later comparison needs, except the weights."""
    return {
        "pipeline": type(pipe).__name__,
        "model": str(run.model.resolve()),
        "checkpoint": components.header_digest(run.model),
        **{name: getattr(run, name) for name in ("prompt", "negative_prompt", "seed", "width", "height", "steps")},
        **{name: getattr(run, name) for name in ("guidance", "dtype", "device", "level", "only", "all_steps")},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")},
        "call": {name: str(value) for name, value in run.call.items()},
        **edit.facts_of(run.images),
        "parameters": sorted(inspect.signature(pipe.__call__).parameters),
        "normalisation": normalisation(pipe),
        "classes": classes(pipe),
    }


def normalisation(pipe) -> dict:
    """The normalisation of the pipeline's VAE latents: ``shift`` and ``scale``, or lists of ``mean`` and ``std``."""
    config = getattr(getattr(pipe, "vae", None), "config", {})
    if config.get("latents_mean") is not None:
        return {"mean": list(config["latents_mean"]), "std": list(config["latents_std"])}
    if config.get("scaling_factor") is not None:
        return {"shift": config.get("shift_factor") or 0.0, "scale": config["scaling_factor"]}
    return {"shift": 0.0, "scale": 1.0}


def run_once(pipe, run: Run, sink) -> None:
    """Run the pipeline once and record it into ``sink``."""
    _pass(pipe, run, sink)


@torch.no_grad()
def _pass(
    pipe,
    run: Run,
    sink,
    noise: torch.Tensor | None = None,
    given: Recording | None = None,
    began: Callable[[str], None] = lambda stage: None,
) -> TorchTaps:
    taps = TorchTaps(sink, run.level, run.only, run.recorded_steps, given, began)

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if noise is not None and noise.numel() == tensor.numel():
            tensor = noise.reshape(tensor.shape).to(tensor)
        taps.record(NOISE, tensor, whole=True)
        return tensor

    with taps.attached(pipe), noise_changed(pipe, drawn):
        call(pipe, run)
        scheduler = pipe.scheduler
        taps.record("scheduler/scheduler/out/0", torch.as_tensor(scheduler.sigmas).float(), whole=True)
        taps.record("scheduler/scheduler/out/1", torch.as_tensor(scheduler.timesteps).float(), whole=True)
        if not run.images:  # otherwise the stage is the encoding of these images
            _encode_image(pipe, sink)
    return taps


def call_arguments(pipe, run: Run) -> dict:
    """The pipeline's call, with this pipeline's names for guidance and the rest."""
    wanted = {
        "prompt": run.prompt,
        "negative_prompt": run.negative_prompt or None,
        "height": run.height,
        "width": run.width,
        "num_inference_steps": run.steps,
        "generator": torch.Generator("cpu").manual_seed(run.seed),
        "output_type": "np",
        "use_resolution_binning": False,  # it generates a different size than requested, and scales the image
        # The two sides cannot be compared on a prompt that another model rewrites.
        "use_pe": False,
        "enable_prompt_rewrite": False,
    }
    known = inspect.signature(pipe.__call__).parameters
    for name in run.call:
        if name not in known:
            raise ParityError(f"--call {name}: {type(pipe).__name__} takes no such argument; see its __call__")
    given = {name: value for name, value in wanted.items() if name in known and value is not None}
    given |= edit.arguments(pipe, run.images, run.width, run.height)
    return given | guidance.arguments(pipe, run.guidance) | run.call


def _noise(recording: Recording) -> torch.Tensor | None:
    return torch.from_numpy(recording.get(NOISE)) if NOISE in recording else None


def _encode_image(pipe, sink) -> None:
    # The decoded image goes back through the encoder; a reference without an encoder simply has no such stage.
    if not hasattr(pipe.vae, "encode") or getattr(pipe.vae, "encoder", None) is None:
        return
    values = sink.read("vae_decode/vae/out/0")
    pipe.vae.encode(torch.from_numpy(values).to(pipe.vae.device, pipe.vae.dtype))


def first_line(error: Exception) -> str:
    """An error's first line, short enough for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
