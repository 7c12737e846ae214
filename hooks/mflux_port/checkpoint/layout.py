"""Find the parts of a checkpoint: in a diffusers folder, a Hugging Face snapshot, a repo id or one safetensors file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mflux_port.checkpoint.headers import PICKLES, Header, Tensor
from mflux_port.checkpoint.kinds.buffers import buffers
from mflux_port.checkpoint.kinds.classify import Classified, classify
from mflux_port.checkpoint.shards import WeightSet, choose_weights
from mflux_port.checkpoint.sources import open_source
from mflux_port.errors import PortError

TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
    "tekken.json",
}  # fmt: skip
# Facts about sampling that are stored next to the weights.
SIDE_FILES = {"guider_config.json", "generation_config.json", "modular_model_index.json"}
# All-in-one files (ComfyUI, original repos) mark their parts with these prefixes; where there are several text
# encoders, each has its own name below the prefix.
_SINGLE_FILE_PARTS = {
    "model.diffusion_model.": "transformer",
    "diffusion_model.": "transformer",
    "first_stage_model.": "vae",
    "vae.": "vae",
    "text_encoders.": "text_encoder",
    "cond_stage_model.": "text_encoder",
    "conditioner.": "text_encoder",
}
_SINGLE_FILE_ENCODER = re.compile(r"(?:text_encoders|conditioner\.embedders)\.[^.]+\.")
# Weights that are not safetensors, by the endings of their files. Pickles come last, because other formats use .bin,
# too.
_OTHER_FORMATS = (
    ((".gguf", ".ggml"), "a GGUF file"),
    ((".onnx", ".onnx_data", ".pb"), "an ONNX file"),
    ((".msgpack",), "a file of Flax"),
    ((".h5",), "a file of TensorFlow"),
    (("openvino_model.bin", "openvino_model.xml"), "a file of OpenVINO"),
    ((".npz", ".npy"), "a file of NumPy"),
    (PICKLES, "a pickle, which can run code"),
)
_WITHOUT_WEIGHTS = re.compile("Tokenizer|Scheduler|Processor|Extractor|Guid")
_FOR_IMAGES = re.compile("Vision(?!Language)|Siglip|Dino|SafetyChecker|Depth|Segment|ForImage")


@dataclass
class Component:
    """A folder of a checkpoint that holds weights. ``config`` is its config.json; ``library`` is that of its class.

    ``role`` is what a port calls it: transformer, vae, text_encoder, text_encoder_2 and so on, or its own name.
    """

    name: str
    folder: str
    library: str
    class_name: str
    config: dict
    weights: WeightSet
    role: str = ""
    custom_code: str = ""

    @cached_property
    def header(self) -> Header:
        """Every tensor by name, from the headers, and their metadata. Raises PortError for invalid files."""
        return self.weights.read()

    @property
    def tensors(self) -> dict[str, Tensor]:
        return self.header

    @cached_property
    def classified(self) -> Classified:
        """Classify the tensors: quantized, wrapped, copies, adapters, or in another layout."""
        return classify(self.tensors, self.config, self.header.metadata)

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors.values())


@dataclass
class Checkpoint:
    """A checkpoint without its data. ``files`` gives the size in bytes of every file, by its path in the checkpoint.

    ``missing``: components of model_index.json that are not here; ``unlisted``: folders with weights that it does not
    list; ``side_files``: other JSON files that state facts (guider, generation_config), by path; ``pipeline_source``:
    the text of the pipeline's own code, which is read and never run.
    """

    where: str
    root: Path | None
    repo: str
    revision: str
    files: dict[str, int]
    model_index: dict = field(default_factory=dict)
    components: dict[str, Component] = field(default_factory=dict)
    scheduler: dict = field(default_factory=dict)
    tokenizers: dict[str, list[str]] = field(default_factory=dict)
    side_files: dict[str, dict] = field(default_factory=dict)
    pipeline_source: str = ""
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @property
    def pipeline(self) -> str:
        """The pipeline class that model_index.json names, or an empty string."""
        return self._pipeline_entry()[1]

    @property
    def pipeline_module(self) -> str:
        """The file of the checkpoint that defines the pipeline's class; empty for a class of diffusers."""
        module = self._pipeline_entry()[0]
        return next((name for name in (f"{module}.py", "pipeline.py") if module and name in self.files), module)

    def _pipeline_entry(self) -> tuple[str, str]:
        # A list names the module of the repo's own code and its class.
        entry = self.model_index.get("_class_name", "")
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
            return entry[0], entry[1]
        return "", entry if isinstance(entry, str) else ""

    def verify_complete(self) -> None:
        """Raise PortError when components that model_index.json lists are missing."""
        if self.missing:
            raise PortError(
                f"{self.where} lacks {', '.join(self.missing)}, which model_index.json lists; "
                "download the rest of the checkpoint"
            )

    def part(self, role: str) -> Component | None:
        """The component with this role in a port, for any folder name."""
        if role in self.components and self.components[role].role == role:
            return self.components[role]
        return next((part for part in self.components.values() if part.role == role), None)

    @property
    def text_encoders(self) -> list[str]:
        """The names of all text encoders that model_index.json lists, including those that are not here.

        Those with that name; if there are none, the models of transformers that take more than images.
        """
        if not _listed(self):
            return [name for name, part in self.components.items() if re.fullmatch(r"text_encoder(_\d+)?", part.role)]
        named = sorted(name for name in _listed(self) if name.startswith("text_encoder"))
        return named or [name for name in _listed(self) if _takes_text(*self.model_index[name])]


def open_checkpoint(where: str) -> Checkpoint:
    """Read a checkpoint's layout: every JSON file at once, the safetensors headers only when they are needed.

    ``where``: a folder, a safetensors file or a Hugging Face repo id. Raises PortError when there is no checkpoint.
    """
    source = open_source(where)
    checkpoint = Checkpoint(where, source.root, source.repo, source.revision, source.files)
    if source.single:
        checkpoint.components = _parts_of_single_file(source)
        return checkpoint
    if "model_index.json" in source.files:
        checkpoint.model_index = read_json(source, "model_index.json")
    if checkpoint.pipeline_module in source.files:
        checkpoint.pipeline_source = source.read(checkpoint.pipeline_module).decode("utf-8", "replace")
    folders: dict[str, list[str]] = {}
    for name in source.files:
        folder, _, bare = name.rpartition("/")
        folders.setdefault(folder, []).append(bare)
    for folder in sorted(folders):
        _read_folder(checkpoint, source, folder, set(folders[folder]))
    checkpoint.missing = [name for name in _listed(checkpoint) if _is_missing(checkpoint, name, folders)]
    for number, name in enumerate(checkpoint.text_encoders, 1):
        if name in checkpoint.components:
            checkpoint.components[name].role = f"text_encoder_{number}" if number > 1 else "text_encoder"
    if not checkpoint.components and not checkpoint.missing:
        _refuse_empty(where, source.files)
    return checkpoint


def read_json(source, name: str) -> dict:
    """Read a JSON object of the checkpoint. Raises PortError for anything else."""
    try:
        value = json.loads(source.read(name).decode("utf-8"))
    except (ValueError, RecursionError):
        raise PortError(f"{source.path(name)} is not JSON; download it again") from None
    if not isinstance(value, dict):
        raise PortError(f"{source.path(name)} is a JSON {type(value).__name__}, not an object; download it again")
    return value


def _read_folder(checkpoint: Checkpoint, source, folder: str, names: set[str]) -> None:
    prefix = f"{folder}/" if folder else ""
    if names & TOKENIZER_FILES:
        checkpoint.tokenizers[folder] = sorted(names)
    if "scheduler_config.json" in names:
        checkpoint.scheduler = read_json(source, f"{prefix}scheduler_config.json")
    for name in names & SIDE_FILES:
        checkpoint.side_files[prefix + name] = read_json(source, prefix + name)
    if folder.count("/") or not folder and checkpoint.model_index:
        return  # weights at a pipeline's root are copies for other programs
    if not any(re.search(r"^(?!\._).*[.]safetensors([.].*index.*[.]json)?$", name) for name in names):
        _refuse_other_format(checkpoint, source, folder, names)
    elif checkpoint.model_index and checkpoint.model_index.get(folder) in (None, [None, None]):
        checkpoint.unlisted.append(folder)
    else:
        component = _component(checkpoint, source, folder, names)
        checkpoint.components[component.name] = component


def _component(checkpoint: Checkpoint, source, folder: str, names: set[str]) -> Component:
    prefix = f"{folder}/" if folder else ""
    config = read_json(source, f"{prefix}config.json") if "config.json" in names else {}
    library, class_name = _class_of(checkpoint.model_index.get(folder), config)
    code = f"{library}.py" if f"{library}.py" in names else ""
    name = folder or _kind(class_name)
    weights = choose_weights(source, folder, _class_of(None, config)[0] or library, config)
    return Component(name, folder, library, class_name, config, weights, _role(name, library, class_name), code)


def _refuse_other_format(checkpoint: Checkpoint, source, folder: str, names: set[str]) -> None:
    listed = _is_entry(checkpoint.model_index.get(folder)) or not checkpoint.model_index and "config.json" in names
    other = _other_format(names) if listed else None
    if other:
        place = source.path(f"{folder}/{other[0]}" if folder else other[0])
        raise PortError(
            f"{place} is {other[1]}, and {folder or 'the folder'} has no safetensors file; "
            "download the checkpoint as safetensors"
        )


def _other_format(names: Iterable[str]) -> tuple[str, str] | None:
    """The first file of weights in another format, and the name of that format."""
    found = (
        (name, what) for endings, what in _OTHER_FORMATS for name in sorted(names) if name.lower().endswith(endings)
    )
    return next(found, None)


def _listed(checkpoint: Checkpoint) -> list[str]:
    """The components that model_index.json lists with a class."""
    return [name for name, entry in checkpoint.model_index.items() if _is_entry(entry) and not name.startswith("_")]


def _takes_text(library: str, class_name: str) -> bool:
    other = _WITHOUT_WEIGHTS.search(class_name) or _FOR_IMAGES.search(class_name)
    return library == "transformers" and not other


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _is_missing(checkpoint: Checkpoint, name: str, folders: dict[str, list[str]]) -> bool:
    if name not in folders:
        return True
    without_weights = _WITHOUT_WEIGHTS.search(checkpoint.model_index[name][1])
    return not without_weights and name not in checkpoint.components


def _class_of(entry: object, config: dict) -> tuple[str, str]:
    if _is_entry(entry):
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


def _role(name: str, library: str, class_name: str) -> str:
    # Decided by the class, because the folder may be called dit, denoiser or unet.
    if name in ("transformer", "vae", "text_encoder"):
        return name
    if re.search("Autoencoder|VAE|VQModel", class_name) or name in ("vae", "vqvae", "movq"):
        return "vae"
    if library != "transformers" and (
        re.search("Transformer|DiT|UNet", class_name) or name in ("dit", "unet", "denoiser", "prior")
    ):
        return "transformer"
    return name


def _parts_of_single_file(source) -> dict[str, Component]:
    weights = choose_weights(source, "")
    header = weights.read()
    components = {}
    for part, tensors in _split_by_part(header).items():
        components[part] = Component(part, "", "", "", {}, weights, part)
        components[part].__dict__["header"] = Header(tensors, header.metadata)
    return components


def _split_by_part(header: Header) -> dict[str, dict[str, Tensor]]:
    """The tensors of an all-in-one file by part. ``others``: of no known part, in a file that marks its transformer."""
    parts: dict[str, dict[str, Tensor]] = {}
    encoders: dict[str, str] = {}
    marked = any(_SINGLE_FILE_PARTS.get(_prefix(name)) == "transformer" for name in header)
    computed = buffers(header)
    for name, tensor in header.items():
        part = _SINGLE_FILE_PARTS.get(_prefix(name), "others" if marked and name not in computed else "transformer")
        if part == "text_encoder":
            found = _SINGLE_FILE_ENCODER.match(name)
            part = encoders.setdefault(found[0] if found else "", f"text_encoder_{len(encoders) + 1}")
            part = part.removesuffix("_1")
        parts.setdefault(part, {})[name] = tensor
    return parts


def _prefix(name: str) -> str:
    return next((prefix for prefix in _SINGLE_FILE_PARTS if name.startswith(prefix)), "")


def _refuse_empty(where: str, files: dict[str, int]) -> None:
    other = _other_format(files)
    if other:
        raise PortError(f"{where}: {other[0]} is {other[1]}; download the checkpoint as safetensors")
    nested = next((name for name in files if name.endswith(".safetensors") and not name.startswith("._")), None)
    if nested:
        raise PortError(f"{where} holds no safetensors file in itself or in a listed folder; point to {nested} in it")
    raise PortError(f"{where} holds no safetensors file; point to a diffusers folder, a .safetensors file or a repo id")
