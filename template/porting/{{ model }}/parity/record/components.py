"""Build a diffusers pipeline's components from their config files, without any weights."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from parity.errors import ParityError
from parity.record.recording_schema import json_object

INDEX = "model_index.json"


def resolve(model: str, weights: bool = False) -> Path:
    """The local folder of a checkpoint: a folder, or a repo id that is brought into the HF cache.

    Of a repo only the config and tokenizer files are brought, unless ``weights`` are wanted.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _from_hub(model, weights)
    if not (folder / INDEX).is_file():
        raise ParityError(f"{folder} has no {INDEX}; name the reference's folder in diffusers layout with --model")
    return folder


def read_index(folder: Path) -> tuple[str, dict[str, tuple[str, str]]]:
    """The pipeline's class name and ``component: (library, class)``; absent optional components are left out."""
    index = read_json(folder / INDEX)
    parts = {
        name: (str(entry[0]), str(entry[1]))
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and entry[0]
    }
    if not parts or "_class_name" not in index:
        raise ParityError(f"{folder / INDEX} names no pipeline; name the reference's folder with --model")
    return str(index["_class_name"]), parts


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises ParityError when it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ParityError(f"{path} is missing; bring the reference's config files again") from None
    except (ValueError, RecursionError):
        raise ParityError(f"{path} is no JSON; bring the reference's config files again") from None
    if not isinstance(value, dict):
        raise ParityError(f"{path} is no JSON object; bring the reference's config files again")
    return value


def component_class(library: str, name: str):
    """The class, from diffusers, transformers or the pipeline's own module. Raises ParityError when there is none."""
    module = library if library in ("diffusers", "transformers") else f"diffusers.pipelines.{library}"
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ParityError(f"the installed {library} has no {name}; install the release that has it") from None


def build(library: str, kind, config: dict):
    """One network with its own initial weights, from a config that is already plain JSON."""
    if library == "transformers":
        from transformers import AutoConfig

        plain = {key: value for key, value in config.items() if key != "model_type"}
        return kind(AutoConfig.for_model(config["model_type"], **plain))
    return kind.from_config(config)


def is_network(folder: Path, name: str) -> bool:
    """Whether a component has a config of its own: networks have, tokenizers and schedulers do not."""
    return (folder / name / "config.json").is_file()


def header_digest(folder: Path) -> str:
    """Names the weights of a checkpoint: a digest of all safetensors headers and of the files' lengths."""
    import hashlib
    import struct

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.safetensors")):
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length >= size:
                raise ParityError(f"{path} is cut off; bring the checkpoint again")
            header = file.read(length)
            try:
                entries = json_object(header, "the header")
                wanted = max(
                    (entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0
                )
            except (ValueError, TypeError, LookupError):
                raise ParityError(f"{path} is no safetensors file; bring the checkpoint again") from None
            if 8 + length + wanted != size:
                raise ParityError(
                    f"{path} is cut off ({size} of {8 + length + wanted} bytes); bring the checkpoint again"
                )
            # The first values too: two checkpoints of one family differ in nothing else that is cheap to read.
            digest.update(f"{path.parent.name}/{path.name}".encode() + header + file.read(4096))
    return digest.hexdigest()[:16]


def _from_hub(model: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*/*.json", "*.jinja", "*/*.jinja", "*/*.txt", "*/*.model"]
    try:
        return Path(snapshot_download(model, allow_patterns=wanted + ["*/*.safetensors"] * weights))
    except Exception as error:  # noqa: BLE001 - whatever the hub says, it ends in one line
        raise ParityError(f"{model} is no folder and could not be brought from the hub ({error})") from None
