"""Estimate the memory, time and disk space of a comparison before MLX reads any weights."""

from __future__ import annotations

import math
from pathlib import Path

import mlx.core as mx

from parity import needs
from parity.answers import STAGE_NAMES
from parity.devices import LESS
from parity.record.components import is_network, read_json
from parity.record.recording import HEADER_ROOM, Recording
from parity.run.residents import ROOM
from parity.run.strips import MOST

# Pictures of a decoder's widest block that are in memory together, and more of them that a convolution makes on the
# CPU, of the 3x3 neighbours of each number. Measured on twins of two families.
PICTURES, WINDOWS = 5, 18
LESS = f"{LESS}, --stage runs one stage by itself"
SMALLER = "a recording with a smaller --size takes less besides the weights"
RESULT = "vae_decode/vae/out/0", "noise/pipeline/out/0"  # one stage's result: a picture, or latents


def timed(recording: Recording, dtype: str) -> str:
    """The setting that decides how long a run takes."""
    facts = recording.facts
    size = f"{facts['width']}x{facts['height']}"
    return f"port {facts['checkpoint']} {size} {facts['level']} {facts['only']} {dtype} {mx.default_device()}"


def sentence(folder: Path, recording: Recording, dtype: str, seconds: str) -> str:
    """One line for people."""
    memory = needs.of_memory(needs.weights(folder, dtype), beside(folder, recording.facts, dtype), _memory(), LESS)
    return f"estimate: {memory}; {seconds}; {needs.in_words(_disk(recording))} on disk, and a report"


def claim_sentence(claim: str, folder: Path, recording: Recording, bits: int | None, seconds: str) -> str:
    """One line for people about the run that judges a claim. It writes no file."""
    loaded = needs.weights(folder, "float32")
    loaded += loaded * bits // 32 if bits else 0  # a quantized copy is loaded beside the whole one
    more = recording.facts["lora"].get("kept", 0) if claim == "training" else 0
    memory = needs.of_memory(loaded, beside(folder, recording.facts, "float32") + more, _memory(), SMALLER)
    return f"estimate: {memory}; {seconds}; nothing on disk"


def is_too_large(folder: Path, recording: Recording, dtype: str) -> bool:
    """Whether a run needs more memory than the machine has."""
    return needs.weights(folder, dtype) + beside(folder, recording.facts, dtype) > _memory() > 0


def beside(folder: Path, facts: dict, dtype: str) -> int:
    """Bytes besides the weights: a VAE's largest pictures, up to MLX's limit."""
    widths = read_json(folder / "vae/config.json").get("block_out_channels") if is_network(folder, "vae") else None
    if not isinstance(widths, list) or not widths:
        return ROOM
    numbers = facts["width"] * facts["height"] * widths[min(1, len(widths) - 1)]
    copied = WINDOWS * min(numbers, MOST) if mx.default_device() == mx.cpu else 0
    return min(ROOM, (PICTURES * numbers + copied) * needs.WIDTHS[dtype])


def _disk(recording: Recording) -> int:
    # The worst tensor of each stage is kept, in float32: two pictures, the prompt, and latents.
    sizes = {event.name: math.prod(event.shape) for event in recording.events}
    picture, latents = (sizes.get(name, 0) for name in RESULT)
    given = [size for name, size in sizes.items() if name.startswith("transformer.0/transformer/in/")]
    return HEADER_ROOM + 4 * (2 * picture + (len(STAGE_NAMES) - 4) * latents + max(given, default=0))


def _memory() -> int:
    info = mx.device_info() if mx.default_device() == mx.gpu else {}
    return int(info.get("memory_size", 0)) or needs.machine()
