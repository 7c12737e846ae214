"""Record the effect of LoRA files in the reference: the layers that each file changes, and by how much.

The names are read by the pipeline's own ``load_lora_weights``. The update from the factors is
multiplied out here, as PEFT defines it, so that PEFT need not be installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from parity.errors import ParityError
from parity.record import reference
from parity.record.lora_files import (
    ATTENTION,
    COLUMNS,
    FACTORS_SWAPPED,
    MISTAKES,
    NO_MAGNITUDE,
    SPELLINGS,
    TRAINED,
    TRANSPOSED,
    Spelling,
    directions,
    write_file,
)
from parity.record.probe import replaced
from parity.record.recording import Recording, is_denoiser
from parity.record.torch_taps import components

_MATRIX = re.compile(r"(?P<path>.+?)\.(?P<matrix>lora_[AB]|lokr_\w+|lora_magnitude_vector)(?:\.weight)?$")
Factors = dict[str, torch.Tensor]
Matrices = dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter]]


@dataclass
class Loaded:
    """The part of a file that the reference applies: each layer's ``factors``, or ``why`` it applies nothing."""

    layers: dict[str, torch.nn.Linear]
    scale: float
    factors: dict[str, Factors] = field(default_factory=dict)
    alpha: Callable[[str], float | None] = lambda layer: None
    why: str = ""

    def updates(self, layer: str) -> dict[str, torch.Tensor]:
        """The update that is added to the layer's weight, by the name "", and what each mistake would add."""
        parts = self.factors[layer]
        if "lora_A" not in parts:
            one, other = _factor(parts, "lokr_w1"), _factor(parts, "lokr_w2")
            return {"": self.scale * torch.kron(one, other), FACTORS_SWAPPED: self.scale * torch.kron(other, one)}
        alpha, rank = self.alpha(layer), len(parts["lora_A"])
        update = self.scale * (1.0 if alpha is None else alpha / rank) * (parts["lora_B"] @ parts["lora_A"])
        if "lora_magnitude_vector" not in parts:
            return {"": update, TRANSPOSED: update.T}
        weight, magnitude = self.layers[layer].weight.detach().float(), parts["lora_magnitude_vector"][:, None]
        whole = weight + update  # DoRA stores the magnitude of each row separately from its direction
        rows, columns = (magnitude * whole / whole.norm(dim=axis, keepdim=True) - weight for axis in (1, 0))
        return {"": rows, COLUMNS: columns, NO_MAGNITUDE: update}


def record(loaded: reference.Reference, run: reference.Run, path: Path) -> Recording:
    """Write LoRA files next to ``path`` and the reference's results for each into it, with one run with a LoRA."""
    pipe = loaded.pipe
    name, network = denoiser(pipe)
    loaded.parts.enter(name)
    layers = linear_layers(network)
    inputs = {f"{name}.{layer}": part.in_features for layer, part in layers.items()}
    facts: dict = {"component": name, "inputs": inputs, "files": {}}
    probes = {f"weights/{name}.{layer}/out/0": stored_in(part.weight, part) for layer, part in layers.items()}
    shapes = {layer: tuple(part.weight.shape) for layer, part in layers.items()}
    for spelling, wanted in wanted_files(shapes):
        keys = write_file(path.with_suffix(""), spelling, wanted)
        file = load(pipe, path.with_suffix("") / f"{spelling.name}.safetensors", layers, spelling.scale)
        facts["files"][spelling.name] = _fact(spelling, keys, file)
        for layer in file.factors:
            probes |= _probes(f"lora.{spelling.name}/{name}.{layer}", file.updates(layer), layers[layer])
    insert(layers, file.factors, file.scale)  # the last file, for attention layers, stays loaded for one run
    return reference.record(loaded, run, path, calibrate=False).extended(probes, {"lora": facts})


def wanted_files(shapes: dict[str, tuple[int, int]]) -> list[tuple[Spelling, dict[str, tuple[int, int]]]]:
    """Each file and the layers in it, by path, with their outputs and inputs."""
    attention = {layer: shape for layer, shape in shapes.items() if layer.endswith(ATTENTION)} or shapes
    return [*((one, shapes) for one in SPELLINGS), (TRAINED, attention)]


def _fact(spelling: Spelling, keys: dict[str, list[str]], loaded: Loaded) -> dict:
    """The port's facts about a file. ``layers``: the keys of each layer that the reference applies."""
    return {
        "scale": spelling.scale, "alpha": spelling.alpha, "kind": spelling.kind, "why": loaded.why,
        "layers": {layer: keys[layer] for layer in loaded.factors},
    }  # fmt: skip


def insert(layers: dict[str, torch.nn.Linear], factors: dict[str, Factors], scale: float = 1.0) -> Matrices:
    """Add a LoRA to each layer in ``factors``. Returns its matrices, down and up, as parameters."""
    found: Matrices = {}
    for name, parts in factors.items():
        layer = layers[name]
        down, up = (torch.nn.Parameter(parts[key].to(layer.weight)) for key in ("lora_A", "lora_B"))
        found[name] = down, up
        layer.register_forward_hook(lambda _, given, out, down=down, up=up: out + scale * (given[0] @ down.T @ up.T))
    return found


def denoiser(pipe) -> tuple[str, torch.nn.Module]:
    """The network that LoRA files are for. Raises ParityError when the pipeline has none or cannot load LoRA files."""
    found = {name: part for name, part in components(pipe).items() if is_denoiser(name)}
    if not found or not hasattr(type(pipe), "load_lora_into_transformer"):
        raise ParityError(
            f"{type(pipe).__name__} loads no LoRA files, so there is nothing to compare; leave --lora out"
        )
    return next(iter(found.items()))


def linear_layers(network: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """All linear layers by their paths."""
    return {path: part for path, part in network.named_modules() if isinstance(part, torch.nn.Linear)}


def load(pipe, given: Path | Factors, layers: dict[str, torch.nn.Linear], scale: float) -> Loaded:
    """Load a file, or its tensors, at strength ``scale`` and return the part that the reference applies."""
    try:
        state, alpha = _read(pipe, given)
    except Exception as error:  # noqa: BLE001 - its converters may raise any error for an unknown name
        return Loaded(layers, scale, why=f"{type(error).__name__}: {reference.first_line(error)}")
    grouped: dict[str, Factors] = {}
    for key, values in state.items():
        matrix = _MATRIX.fullmatch(key)
        if matrix and matrix["path"] in layers:
            grouped.setdefault(matrix["path"], {})[matrix["matrix"]] = values.float()
    whole = {layer: parts for layer, parts in grouped.items() if _is_whole(parts)}
    return Loaded(layers, scale, whole, alpha, "" if whole else "no name in it is a layer of its transformer")


def _read(pipe, given: Path | Factors) -> tuple[Factors, Callable[[str], float | None]]:
    """The file with the names of the reference's own modules, and its alpha for each layer."""
    from diffusers.utils import convert_unet_state_dict_to_peft

    prefix = f"{getattr(type(pipe), 'transformer_name', 'transformer')}."
    handed = _handed_over(pipe, given)
    state, alphas, config = (_below(prefix, handed.get(name)) for name in ("state_dict", "network_alphas", "metadata"))
    if state and not any("lora_A" in key or "lokr_" in key for key in state):
        state = convert_unet_state_dict_to_peft(state)
    return state, lambda layer: _alpha(layer, config, alphas)


def _handed_over(pipe, given: Path | Factors) -> dict:
    """The tensors that the pipeline's ``load_lora_weights`` passes to its transformer, read without PEFT."""
    kind, found = type(pipe), {}

    def take(cls, state_dict, *args, **kwargs):
        found.update(kwargs, state_dict=state_dict)

    with replaced(kind, "load_lora_into_transformer", classmethod(take)):
        inspect.unwrap(kind.load_lora_weights)(pipe, given if isinstance(given, dict) else str(given))
    return found


def _below(prefix: str, table: dict | None) -> dict:
    return {key.removeprefix(prefix): value for key, value in (table or {}).items() if key.startswith(prefix)}


def _alpha(layer: str, config: dict, alphas: dict) -> float | None:
    if "lora_alpha" in config:
        patterns = config.get("alpha_pattern") or {}
        matching = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer))
        return float(next(matching, config["lora_alpha"]))
    found = next((value for key, value in alphas.items() if key.removesuffix(".alpha") == layer), None)
    return None if found is None else float(found)


def _is_whole(parts: Factors) -> bool:
    names = parts.keys()
    return {"lora_A", "lora_B"} <= names or all(
        {name} <= names or {f"{name}_a", f"{name}_b"} <= names for name in ("lokr_w1", "lokr_w2")
    )


def _factor(parts: Factors, name: str) -> torch.Tensor:
    return parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"]


def stored_in(matrix: torch.Tensor, layer: torch.nn.Linear) -> np.ndarray:
    """A weight's result for the fixed inputs, which identifies it: (outputs, directions)."""
    return (matrix.detach().float().cpu() @ torch.from_numpy(directions(layer.in_features))).numpy()


def _probes(event: str, updates: dict[str, torch.Tensor], part: torch.nn.Linear) -> dict[str, np.ndarray]:
    """The effect of the correct update (number 0) and of each mistake, in the order of MISTAKES."""
    numbers = {name: number for number, name in enumerate(("", *MISTAKES))}
    return {f"{event}/out/{numbers[name]}": stored_in(values, part) for name, values in fitting(updates, part).items()}


def fitting(updates: dict[str, torch.Tensor], part: torch.nn.Linear) -> dict[str, torch.Tensor]:
    """The updates in the shape of the layer's weight: a transposed one may have another."""
    return {name: values for name, values in updates.items() if values.shape == part.weight.shape}
