"""One training step of the reference with a LoRA in every linear layer: sigmas, loss and gradients, then a few updates.

The pipeline itself runs up to one denoising step, so that the network is called as in generation; its prediction there
is compared with noise - clean, as in the training of a flow model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from parity.errors import ParityError
from parity.record import guidance, image_to_image, pictures, reference, sampling
from parity.record.lora import Matrices, denoiser, insert, linear_layers, load, stored_in
from parity.record.lora_files import SPELLINGS, START, write_file
from parity.record.probe import Reached, replaced
from parity.record.recording import Recording

AT = 1  # the denoising step that is trained on: its timestep is not the first, which many schedules share
UPDATES = 3
TRIES, APART = 8, 5e-3  # two losses further apart than this are distinguishable
OPTIMIZER = {"learning_rate": 1e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


def record(loaded: reference.Reference, run: reference.Run, path: Path) -> Recording:
    """A recording of one plain run, plus a training step's results for fixed latents, noise and timestep."""
    if run.steps <= AT:
        raise ParityError(f"--training needs --steps {AT + 1} or more; it trains on the second step's timestep")
    plain, pipe = reference.record(loaded, run, path, calibrate=False), loaded.pipe
    data = _data(pipe, replace(run, guidance=plain.facts["guidance"]), plain, path.with_suffix(".png"))
    name, network = denoiser(pipe)
    loaded.parts.enter(name)
    layers = linear_layers(network)
    shapes = {layer: tuple(part.weight.shape) for layer, part in layers.items()}
    keys = write_file(path.with_suffix(""), START, shapes)
    matrices = insert(layers, load(pipe, path.with_suffix("") / f"{START.name}.safetensors", layers, 1.0).factors)
    noise = plain.get("loop/scheduler.0/in/1")
    step = _Step(pipe, replace(run, guidance=plain.facts["guidance"]), torch.from_numpy(noise))
    clean = _telling(step, noise.shape, run.seed)
    values, losses = _train(step, matrices, name)
    values |= data | {"training/latents/in/0": clean, "training/latents/in/1": noise}
    values |= {f"weights/{name}.{layer}/out/0": stored_in(part.weight, part) for layer, part in layers.items()}
    facts = {
        "component": name, "inputs": {f"{name}.{layer}": part.in_features for layer, part in layers.items()},
        "files": {}, "layers": {layer: keys[layer] for layer in matrices}, "at": AT, "updates": UPDATES,
        "losses": losses, "optimizer": OPTIMIZER, "spellings": _spellings(pipe, path, layers, shapes),
        "schemes": sampling.schemes(), "kept": step.kept,
    }  # fmt: skip
    return plain.extended(values, {"lora": facts})


def _data(pipe, run: reference.Run, plain: Recording, picture: Path) -> dict[str, np.ndarray]:
    """The latents of a picture that is drawn to ``picture``: the correct ones, and those with mistakes that ports make."""
    pictures.default_picture(picture, run.width, run.height)
    if "layout/vae/in/0" not in plain or not hasattr(pipe, "image_processor"):
        return {}  # which latent is which, or how the pipeline reads a picture, is not known
    cleans = image_to_image.Parts(pipe, run, plain).cleans(picture)
    return {f"data/{name}/out/0": values.astype(np.float32) for name, values in cleans.items()}


def _telling(step: _Step, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Latents for which every wrong target gives a different loss; random ones might give equal losses by chance."""
    for number in range(TRIES):
        clean = np.random.default_rng(seed + number).standard_normal(shape).astype(np.float32)
        step.clean = torch.from_numpy(clean).to(step.noise)
        losses = step.loss()[1]
        right = losses.pop("noise - clean")
        if min(abs(other - right) for other in losses.values()) > APART * right:
            break
    return clean


def _train(step: _Step, matrices: Matrices, name: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    parameters = [matrix for pair in matrices.values() for matrix in pair]
    start = [matrix.detach().clone() for matrix in parameters]
    settings = {**OPTIMIZER, "lr": OPTIMIZER["learning_rate"]}
    del settings["learning_rate"]
    optimizer = torch.optim.AdamW(parameters, **settings)
    values: dict[str, np.ndarray] = {}
    losses: dict[str, float] = {}
    for update in range(UPDATES):
        optimizer.zero_grad()
        loss, found = step.loss()
        loss.backward()
        if not update:
            losses = found
            values = _named(matrices, name, "gradient", [matrix.grad for matrix in parameters])
        optimizer.step()
    moved = [matrix.detach() - before for matrix, before in zip(parameters, start, strict=True)]
    return values | _named(matrices, name, "update", moved), losses


def _named(matrices: Matrices, name: str, what: str, tensors: list) -> dict[str, np.ndarray]:
    # A layer that the run does not reach has no gradient.
    numbers = [(layer, n) for layer in matrices for n in range(2)]
    known = [(place, tensor) for place, tensor in zip(numbers, tensors, strict=True) if tensor is not None]
    return {f"{what}/{name}.{layer}/out/{n}": tensor.float().cpu().numpy() for (layer, n), tensor in known}


class _Step:
    """The pipeline, run up to the step that is trained on, with the given latents in that step."""

    def __init__(self, pipe, run: reference.Run, noise: torch.Tensor):
        self.pipe, self.run, self.noise = pipe, run, noise.to(run.device)
        self.clean = torch.zeros_like(self.noise)
        self.kept = 0  # bytes that the network kept for its gradients

    def loss(self) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss, and the losses with other targets."""
        kept: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _keep(tensor, kept), lambda tensor: tensor):
            predicted = self._prediction().float().reshape(self.noise.shape)
        self.kept = sum(kept.values())
        wrong = {"clean - noise": self.clean - self.noise, "noise": self.noise, "clean": self.clean}
        loss = (predicted - (self.noise - self.clean)).square().mean()
        others = {name: float((predicted - target).square().mean()) for name, target in wrong.items()}
        return loss, {"noise - clean": float(loss)} | others

    def _prediction(self) -> torch.Tensor:
        original, found, number = self.pipe.scheduler.step, [], iter(range(self.run.steps))

        def step(model_output, timestep, sample, *args, **kwargs):
            at = next(number)
            if at == AT:
                found.append(model_output)
                raise Reached
            result = original(model_output, timestep, sample, *args, **kwargs)
            if at + 1 < AT:
                return result
            denoiser(self.pipe)[1].requires_grad_(False)  # it may have been reloaded
            torch.set_grad_enabled(True)
            return _with_latents(result, self._noisy(sample))

        with replaced(self.pipe.scheduler, "step", step), torch.no_grad():
            guidance.set_guider(self.pipe, self.run.guidance)
            call: Callable = inspect.unwrap(type(self.pipe).__call__)
            try:
                call(self.pipe, **reference.call_arguments(self.pipe, self.run))
            except Reached:
                pass
        if not found or not found[0].requires_grad:
            raise ParityError(
                f"{type(self.pipe).__name__} cannot be trained through: its step {AT + 1} has no gradient"
            )
        return found[0]

    def _noisy(self, sample: torch.Tensor) -> torch.Tensor:
        sigma = self.pipe.scheduler.sigmas[AT].to(self.clean)
        return ((1 - sigma) * self.clean + sigma * self.noise).reshape(sample.shape).to(sample)


def _keep(tensor: torch.Tensor, kept: dict[int, int]) -> torch.Tensor:
    if not isinstance(tensor, torch.nn.Parameter):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
    return tensor


def _with_latents(result, latents: torch.Tensor):
    if isinstance(result, tuple):
        return (latents, *result[1:])
    result.prev_sample = latents
    return result


def _spellings(pipe, path: Path, layers: dict, shapes: dict) -> dict[str, dict]:
    """The names of matrices that the reference loads: by key, the layer and whether it is ``up`` or ``down``."""
    found = {}
    for spelling in SPELLINGS:
        if spelling.kind != START.kind or spelling.alpha:
            continue
        write_file(path.with_suffix(""), spelling, shapes)
        file = path.with_suffix("") / f"{spelling.name}.safetensors"
        for layer in load(pipe, file, layers, 1.0).factors:
            found[spelling.key(layer, spelling.down)] = [layer, "down"]
            found[spelling.key(layer, spelling.up)] = [layer, "up"]
        file.unlink()
    return found
