"""Where a checkpoint keeps what: a diffusers folder, a Hugging Face snapshot, a repo id or one safetensors file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from mflux_port.checkpoint.headers import PICKLES, Tensor
from mflux_port.checkpoint.shards import WeightSet, choose_weights
from mflux_port.checkpoint.sources import open_source
from mflux_port.errors import PortError

TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
    "tekken.json",
}  # fmt: skip
# All-in-one files (ComfyUI, original repos) mark their parts with these prefixes.
_SINGLE_FILE_PARTS = {
    "model.diffusion_model.": "transformer",
    "first_stage_model.": "vae",
    "vae.": "vae",
    "text_encoders.": "text_encoder",
    "cond_stage_model.": "text_encoder",
}


@dataclass
class Component:
    """A folder of a checkpoint that holds weights. ``config`` is its config.json; ``library`` says whose class it is."""

    name: str
    folder: str
    library: str
    class_name: str
    config: dict
    weights: WeightSet

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, from the headers. Raises PortError for unsound files."""
        return self.weights.read()

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors.values())


@dataclass
class Checkpoint:
    """A checkpoint without its data. ``files`` gives the bytes of every file by its path inside the checkpoint."""

    where: str
    root: Path | None
    repo: str
    revision: str
    files: dict[str, int]
    model_index: dict = field(default_factory=dict)
    components: dict[str, Component] = field(default_factory=dict)
    scheduler: dict = field(default_factory=dict)
    tokenizers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def pipeline(self) -> str:
        """The diffusers pipeline class that model_index.json names, or an empty string."""
        name = self.model_index.get("_class_name", "")
        return name if isinstance(name, str) else ""


def open_checkpoint(where: str) -> Checkpoint:
    """Read a checkpoint's layout: every JSON file that matters now, the safetensors headers when they are asked for.

    ``where``: a folder, a safetensors file or a Hugging Face repo id. Raises PortError when there is no checkpoint.
    """
    source = open_source(where)
    checkpoint = Checkpoint(where, source.root, source.repo, source.revision, source.files)
    if source.single:
        checkpoint.components = _parts_of_single_file(source)
        return checkpoint
    if "model_index.json" in source.files:
        checkpoint.model_index = read_json(source, "model_index.json")
    for folder in sorted({str(PurePosixPath(name).parent) for name in source.files}):
        _read_folder(checkpoint, source, "" if folder == "." else folder)
    if not checkpoint.components:
        _refuse_empty(where, source.files)
    return checkpoint


def read_json(source, name: str) -> dict:
    """A JSON object of the checkpoint. Raises PortError for anything else."""
    try:
        value = json.loads(source.read(name).decode("utf-8"))
    except (ValueError, RecursionError):
        raise PortError(f"{source.path(name)} is not JSON; download it again") from None
    if not isinstance(value, dict):
        raise PortError(f"{source.path(name)} is a JSON {type(value).__name__}, not an object; download it again")
    return value


def _read_folder(checkpoint: Checkpoint, source, folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    names = [name for name in source.files if str(PurePosixPath(name).parent) == (folder or ".")]
    bare = {PurePosixPath(name).name for name in names}
    if bare & TOKENIZER_FILES:
        checkpoint.tokenizers[folder] = sorted(bare)
    if "scheduler_config.json" in bare:
        checkpoint.scheduler = read_json(source, f"{prefix}scheduler_config.json")
    weights = [name for name in names if name.endswith(".safetensors")]
    # At the root of a pipeline lie copies for other programs; the pipeline reads its folders.
    if not weights or (not folder and checkpoint.model_index) or folder.count("/"):
        pickles = [name for name in names if name.lower().endswith(PICKLES)]
        if pickles and f"{prefix}config.json" in source.files and _is_listed(checkpoint, folder):
            raise PortError(
                f"{source.path(pickles[0])} is a pickle, which can run code, and {folder or 'the folder'} has no safetensors "
                "file; download the checkpoint as safetensors"
            )
        return
    config = read_json(source, f"{prefix}config.json") if "config.json" in bare else {}
    library, class_name = _class_of(checkpoint.model_index.get(folder), config)
    name = folder or _kind(class_name)
    checkpoint.components[name] = Component(name, folder, library, class_name, config, choose_weights(source, folder))


def _is_listed(checkpoint: Checkpoint, folder: str) -> bool:
    return folder in checkpoint.model_index or not checkpoint.model_index


def _class_of(entry: object, config: dict) -> tuple[str, str]:
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
        return entry[0], entry[1]
    if isinstance(config.get("_class_name"), str):
        return "diffusers", config["_class_name"]
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return "transformers", architectures[0]
    return "", ""


def _kind(class_name: str) -> str:
    if re.search("Autoencoder|VAE", class_name):
        return "vae"
    return "transformer" if not class_name or re.search("Transformer|DiT|UNet", class_name) else "text_encoder"


def _parts_of_single_file(source) -> dict[str, Component]:
    weights = choose_weights(source, "")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.read().items():
        prefix = next((prefix for prefix in _SINGLE_FILE_PARTS if name.startswith(prefix)), "")
        parts.setdefault(_SINGLE_FILE_PARTS.get(prefix, "transformer"), {})[name] = tensor
    components = {}
    for part, tensors in parts.items():
        components[part] = Component(part, "", "", "", {}, weights)
        components[part].__dict__["tensors"] = tensors
    return components


def _refuse_empty(where: str, files: dict[str, int]) -> None:
    pickle = next((name for name in files if name.lower().endswith(PICKLES)), None)
    if pickle:
        raise PortError(f"{where}: {pickle} is a pickle, which can run code; download the checkpoint as safetensors")
    raise PortError(f"{where} holds no safetensors file; point to a diffusers folder, a .safetensors file or a repo id")
