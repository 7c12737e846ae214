"""What the recording of a claim takes on disk and in memory besides the run in it: LoRA files, effects, gradients.

The networks have only shapes here, as in estimate.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from parity.record.lora import Factors, denoiser, fitting, linear_layers, load, wanted_files
from parity.record.lora_files import ALPHA, DIRECTIONS, RANK, START, Spelling, file_size, shapes
from parity.record.recording import HEADER_ROOM, LONG_HEADER_ROOM
from parity.record.training import AT

NUMBER = 4  # bytes
COPIES = 4  # an update, its factors' product, the weight and their sum are in memory together
CLEANS = 5  # the picture's latents are recorded correctly, and with each mistake of Parts.cleans
LATENTS, PICTURE = "noise/pipeline/out/0", "vae_decode/vae/out/0"


@dataclass(frozen=True)
class Need:
    """Bytes besides those of the run."""

    disk: int = 0
    memory: int = 0


def of_claim(claim: str, pipe, sizes: dict[str, int]) -> Need:
    """``sizes``: how many numbers each tensor of the run has."""
    if claim not in NEEDS:
        return Need()
    need = NEEDS[claim](pipe, sizes)
    again = LONG_HEADER_ROOM - HEADER_ROOM  # the recording is written again with more content
    return Need(need.disk + again, need.memory)


def train(pipe) -> None:
    """From now on, the denoiser keeps what the gradients of a LoRA in each of its linear layers need."""
    _, network = denoiser(pipe)
    network.requires_grad_(False)
    for layer in linear_layers(network).values():
        down, up = (torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in _matrices(layer))
        layer.register_forward_hook(lambda _, given, out, down=down, up=up: out + given[0] @ down.T @ up.T)
    network.register_forward_pre_hook(lambda *given: torch.set_grad_enabled(True) and None)
    network.register_forward_hook(lambda *given: torch.set_grad_enabled(False) and None)


def steps_of_training(steps: int) -> int:
    """The steps up to the one that is trained on."""
    return min(steps, AT + 1)


def _lora(pipe, sizes: dict[str, int]) -> Need:
    layers = linear_layers(denoiser(pipe)[1])
    written, recorded = 0, sum(map(_effect, layers.values()))
    for spelling, wanted in wanted_files(_sizes(layers)):
        written += file_size(spelling, wanted)
        applied = load(pipe, _without_values(spelling, wanted), layers, spelling.scale)
        for name in applied.factors:
            recorded += len(fitting(applied.updates(name), layers[name])) * _effect(layers[name])
    largest = max(layer.weight.numel() for layer in layers.values())
    return Need(written + recorded, recorded + COPIES * NUMBER * largest)


def _training(pipe, sizes: dict[str, int]) -> Need:
    layers = linear_layers(denoiser(pipe)[1])
    matrices = NUMBER * sum(a * b for layer in layers.values() for a, b in _matrices(layer))
    recorded = 2 * matrices + sum(map(_effect, layers.values()))  # gradients and updates
    recorded += NUMBER * (CLEANS + 2) * sizes.get(LATENTS, 0)
    # The matrices, their initial values, their gradients, and AdamW's two averages.
    return Need(file_size(START, _sizes(layers)) + recorded, recorded + 5 * matrices)


def _image(pipe, sizes: dict[str, int]) -> Need:
    return Need(NUMBER * ((CLEANS + 2) * sizes.get(LATENTS, 0) + sizes.get(PICTURE, 0)))


NEEDS: dict[str, Callable[..., Need]] = {"lora": _lora, "training": _training, "image": _image}


def _matrices(layer: torch.nn.Linear) -> tuple[tuple[int, int], tuple[int, int]]:
    return (RANK, layer.in_features), (layer.out_features, RANK)


def _sizes(layers: dict[str, torch.nn.Linear]) -> dict[str, tuple[int, int]]:
    return {name: (layer.out_features, layer.in_features) for name, layer in layers.items()}


def _effect(layer: torch.nn.Linear) -> int:
    return NUMBER * layer.out_features * DIRECTIONS


def _without_values(spelling: Spelling, layers: dict[str, tuple[int, int]]) -> Factors:
    """A file's tensors without memory, apart from alpha, which loaders read."""
    known = shapes(spelling, layers)
    return {key: torch.empty(shape, device="meta") if shape else torch.tensor(ALPHA) for key, shape in known.items()}
