"""Record image-to-image of the reference: the step and the latents at which it starts, and its result.

Where diffusers has the pipeline (``ZImageImg2ImgPipeline`` for ``ZImagePipeline``), that pipeline computes the start;
otherwise the image goes through the reference's own parts: its VAE, and the inverse of what the pipeline does to
latents before decoding.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from parity.errors import ParityError
from parity.metrics import relative_error
from parity.record import edit, reference
from parity.record.probe import Probe, Reached, noise_changed, replaced
from parity.record.recording import Recording

STEPS = (1, 2, 4, 7, 9, 20, 28, 50)
STRENGTHS = (0.05, 0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 0.9, 1.0)


def record(loaded: reference.Reference, run: reference.Run, path: Path, picture: Path, strength: float) -> Recording:
    """A recording of text-to-image with the same noise, and the start and the result of image-to-image added to it."""
    plain, pipe = reference.record(loaded, run, path, calibrate=False), loaded.pipe
    if "layout/vae/in/0" not in plain:
        raise ParityError("the reference's VAE does not show which latent is which; image-to-image cannot be compared")
    run = replace(run, guidance=plain.facts["guidance"])  # keep the guidance of the plain run
    start = start_step(run.steps, strength)
    if start >= run.steps:
        raise ParityError(f"--strength {strength:g} leaves no step of {run.steps}; give a larger one, or more --steps")
    parts = Parts(pipe, run, plain)
    noise = plain.get("loop/scheduler.0/in/1")
    cleans = {name: values.reshape(noise.shape) for name, values in parts.cleans(picture).items()}
    sigma = float(plain.get("scheduler/scheduler/out/0").reshape(-1)[start])
    latents = (1 - sigma) * cleans["right"] + sigma * noise
    facts = {"strength": strength, "start": start, "picture": str(picture.resolve()), "pipeline": "", "gap": 0.0}
    facts["starts"] = [[steps, value, start_step(steps, value)] for steps in STEPS for value in STRENGTHS]
    kind = image_pipeline(pipe)
    if kind is not None:
        own, facts["starts"] = _own_start(kind(**_components(kind, pipe)), run, picture, strength, noise)
        facts |= {"pipeline": kind.__name__, "gap": relative_error(own, latents)}
        latents = own.reshape(latents.shape)
    values = {f"image/{name}/out/0": array.astype(np.float32) for name, array in cleans.items()}
    values |= {"image/noise/out/0": noise, "image/latents/out/0": latents.astype(np.float32)}
    values["image/picture/out/0"] = parts.draw(latents, start)
    return plain.extended(values, {"image": facts})


def start_step(steps: int, strength: float) -> int:
    """The first step that runs, as diffusers' image-to-image pipelines count it."""
    return int(max(steps - min(steps * strength, steps), 0))


def image_pipeline(pipe) -> type | None:
    """diffusers' image-to-image pipeline of the same family."""
    import diffusers

    return getattr(diffusers, type(pipe).__name__.replace("Pipeline", "Img2ImgPipeline"), None)


def _components(kind: type, pipe) -> dict:
    known = inspect.signature(kind.__init__).parameters
    # A separate scheduler: it stores the step that it begins with.
    return {name: part for name, part in pipe.components.items() if name in known} | {
        "scheduler": copy.deepcopy(pipe.scheduler)
    }


def _own_start(pipe, run: reference.Run, picture: Path, strength: float, noise: np.ndarray) -> tuple[np.ndarray, list]:
    """The latents that the pipeline's first step gets, and its first step for several numbers of steps."""
    found: list[np.ndarray] = []

    def step(model_output, timestep, sample, *args, **kwargs):
        found.append(sample.float().cpu().numpy())
        raise Reached

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(noise).reshape(tensor.shape).to(tensor) if tensor.numel() == noise.size else tensor

    arguments = reference.call_arguments(pipe, run) | {
        "image": Image.open(picture).convert("RGB"),
        "strength": strength,
    }
    with (
        edit.most_likely((picture,)),
        noise_changed(pipe, drawn),
        replaced(pipe.scheduler, "step", step),
        torch.no_grad(),
    ):
        with contextlib.suppress(Reached):
            pipe(**arguments)
    return found[0], _first_steps(pipe)


def _first_steps(pipe) -> list:
    """[steps, strength, first step] for several numbers of steps and strengths."""
    starts = []
    for steps in STEPS:
        pipe.scheduler.set_timesteps(
            steps, **({"mu": 0.5} if pipe.scheduler.config.get("use_dynamic_shifting") else {})
        )
        for value in STRENGTHS:
            left = pipe.get_timesteps(steps, value, "cpu")[1]
            starts.append([steps, value, steps - int(left)])
    return starts


class Parts:
    """The pipeline's own VAE, and the inverse of the path from the loop to the VAE."""

    def __init__(self, pipe, run: reference.Run, plain: Recording):
        self.pipe, self.run = pipe, run
        self.ids = plain.get("layout/vae/in/0")
        self.size = int(plain.get("loop/scheduler.0/in/1").size)

    @torch.no_grad()
    def cleans(self, picture: Path) -> dict[str, np.ndarray]:
        """The picture's latents in the loop's form: ``right``, and with the mistakes that ports make."""
        zero, one = (self._decoded(np.full(self.size, value, np.float32)) for value in (0.0, 1.0))
        raw = self._encoded(picture, zero.ndim)
        shift, scale = zero, one - zero
        right = (raw - shift) / scale
        found = {
            "right": right, "not normalised": raw, "normalised twice": (right - shift) / scale,
            "without the shift": raw / scale, "without the scale": raw - shift,
        }  # fmt: skip
        return {name: self._in_loop(values) for name, values in found.items()}

    def draw(self, latents: np.ndarray, start: int) -> np.ndarray:
        """The picture that the pipeline makes from latents given to it before step ``start``."""
        original, number, pictures = self.pipe.scheduler.step, iter(range(self.run.steps)), []
        begin = torch.from_numpy(np.ascontiguousarray(latents, np.float32))

        def step(model_output, timestep, sample, *args, **kwargs):
            result = original(model_output, timestep, sample, *args, **kwargs)
            if next(number) == start - 1:
                given = begin.reshape(sample.shape).to(sample)
                return (given, *result[1:]) if isinstance(result, tuple) else type(result)(prev_sample=given)
            return result

        decode = self.pipe.vae.decode

        def watched(*args, **kwargs):
            result = decode(*args, **kwargs)
            pictures.append((result[0] if isinstance(result, tuple) else result.sample).float().cpu().numpy())
            return result

        first = (lambda drawn: begin.reshape(drawn.shape).to(drawn)) if start == 0 else (lambda drawn: drawn)
        with replaced(self.pipe.scheduler, "step", step), replaced(self.pipe.vae, "decode", watched):
            with noise_changed(self.pipe, first):
                reference.call(self.pipe, self.run)
        return pictures[0]

    def _decoded(self, latents: np.ndarray) -> np.ndarray:
        probe = Probe(self.pipe, lambda: reference.call(self.pipe, self.run))
        return next(iter(probe.decoded(latents, self.run.steps).values()))

    def _encoded(self, picture: Path, axes: int) -> np.ndarray:
        processor = self.pipe.image_processor
        pixels = processor.preprocess(Image.open(picture).convert("RGB"), height=self.run.height, width=self.run.width)
        pixels = pixels.to(self.pipe.vae.device, self.pipe.vae.dtype)
        encoded = self.pipe.vae.encode(pixels.unsqueeze(2) if axes == 5 else pixels)
        found = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded[0]
        return found.float().cpu().numpy()

    def _in_loop(self, values: np.ndarray) -> np.ndarray:
        found = np.zeros(self.size, np.float32)
        found[self.ids.reshape(-1)] = values.reshape(-1)
        return found
