"""Build a diffusers pipeline's components from their config files, without any weights."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path

from parity.errors import ParityError
from parity.record.recording_schema import json_object

INDEX = "model_index.json"
NEEDS_TORCHVISION = "needs torchvision, which is not installed; run the script with `uv run`, or install torchvision"
CUSTOM_CODE = "--custom-code"  # the flag of the scripts that may run a checkpoint's own code
_allowed: set[str] = set()
ANY = ("", "DiffusionPipeline")  # any pipeline that model_index.json names


def allow_custom_code(allowed: bool) -> None:
    """Allow or forbid running files of a checkpoint from now on. By default, each such file is refused by name."""
    _allowed.clear()
    if allowed:
        _allowed.add(CUSTOM_CODE)


def resolve(model: str, weights: bool = False) -> Path:
    """The local folder of a checkpoint: a folder, or a repo id that is downloaded into the HF cache.

    From a repo only the config and tokenizer files are downloaded, unless ``weights`` are wanted.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _from_hub(model, weights)
    if not (folder / INDEX).is_file():
        raise ParityError(f"{folder} has no {INDEX}; name the reference's folder in diffusers layout with --model")
    return folder


def read_index(folder: Path) -> tuple[str, dict[str, tuple[str, str]]]:
    """The pipeline's class name and ``component: (library, class)``; absent optional components are left out.

    The checkpoint's own pipeline is named as a list: its module, which is a file in the folder, and its class.
    """
    index = read_json(folder / INDEX)
    parts = {
        name: (str(entry[0]), str(entry[1]))
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and entry[0] and name != "_class_name"
    }
    name = index.get("_class_name")
    name = name[-1] if isinstance(name, list) and len(name) == 2 else name
    if not parts or not isinstance(name, str):
        raise ParityError(f"{folder / INDEX} names no pipeline; name the reference's folder with --model")
    return name, parts


def same_pipeline(expected: str, name: str) -> bool:
    """Whether the answer ``reference_pipeline`` is the pipeline ``name``: any, a class name, or ``module.Class``."""
    return expected in ANY or expected.rpartition(".")[2] == name


def pipeline_class(folder: Path, expected: str = ""):
    """The class of a folder's pipeline: from the checkpoint's own file, from ``module.Class`` if expected, else from
    diffusers.

    Raises ParityError when the folder's pipeline is not ``expected``, or when that class does not exist.
    """
    name, _ = read_index(folder)
    if not same_pipeline(expected, name):
        raise ParityError(
            f"{folder} is a {name}, the port's reference_pipeline is {expected}; name the right folder with --model"
        )
    if has_own_code(folder):
        return _class_of_file(folder / f"{read_json(folder / INDEX)['_class_name'][0]}.py", name)
    module, _, _ = expected.rpartition(".")
    return component_class(module or "diffusers", name)


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises ParityError when it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ParityError(f"{path} is missing; download the reference's config files again") from None
    except (ValueError, RecursionError):
        raise ParityError(f"{path} is not JSON; download the reference's config files again") from None
    if not isinstance(value, dict):
        raise ParityError(f"{path} is not a JSON object; download the reference's config files again")
    return value


def has_own_code(folder: Path) -> bool:
    """Whether the pipeline's class is in one of the checkpoint's files."""
    listed = read_json(folder / INDEX).get("_class_name")
    return isinstance(listed, list) and (folder / f"{listed[0]}.py").is_file()


def component_class(library: str, name: str, folder: Path | None = None):
    """The class ``name`` of a library, of a module of diffusers' pipelines, or of ``<folder>/<library>.py``.

    Raises ParityError when there is none.
    """
    if folder is not None and (folder / f"{library}.py").is_file():
        return _class_of_file(folder / f"{library}.py", name)
    for module in (f"diffusers.pipelines.{library}", library):
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            if "torchvision" in str(error).lower():
                raise ParityError(f"{library}'s {name} {NEEDS_TORCHVISION}") from None
            continue
        _verify_requirements(library, kind)
        return kind
    raise ParityError(f"the installed {library} has no {name}; install the release that has it")


def _verify_requirements(library: str, kind) -> None:
    # transformers requires torchvision only when such a processor is created, in the middle of loading.
    parts = kind.get_attributes() if library == "transformers" and hasattr(kind, "get_attributes") else ()
    if "video_processor" in parts and importlib.util.find_spec("torchvision") is None:
        raise ParityError(f"{library}'s {kind.__name__} {NEEDS_TORCHVISION}")


def _class_of_file(path: Path, name: str):
    if CUSTOM_CODE not in _allowed:
        raise ParityError(f"{path} is the checkpoint's own code and was not run; read it, then add {CUSTOM_CODE}")
    # Registered under its own name: the run looks up the pipeline's module there, to find its noise.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        return getattr(module, name)
    except Exception as error:  # noqa: BLE001 - the checkpoint's own code may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ParityError(f"{path} has no usable {name} ({reason}); install what it imports") from None


def build(library: str, kind, config: dict):
    """One network with its own initial weights, from a config that is already plain JSON."""
    if library == "transformers":
        from transformers import AutoConfig

        plain = {key: value for key, value in config.items() if key != "model_type"}
        return kind(AutoConfig.for_model(config["model_type"], **plain))
    return kind.from_config(config)


def is_network(folder: Path, name: str) -> bool:
    """Whether a component has its own config: networks do, tokenizers and schedulers do not."""
    path = folder / name / "config.json"
    return path.is_file() and bool(read_json(path))


def header_digest(folder: Path) -> str:
    """Identifies the weights of a checkpoint: a digest of all safetensors headers and of the files' lengths."""
    import hashlib
    import struct

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.safetensors")):
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length >= size:
                raise ParityError(f"{path} is cut off; download the checkpoint again")
            header = file.read(length)
            try:
                entries = json_object(header, "the header")
                wanted = max(
                    (entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0
                )
            except (ValueError, TypeError, LookupError):
                raise ParityError(f"{path} is not a safetensors file; download the checkpoint again") from None
            if 8 + length + wanted != size:
                raise ParityError(
                    f"{path} is cut off ({size} of {8 + length + wanted} bytes); download the checkpoint again"
                )
            # The digest includes the first values: nothing else that is quick to read differs between two checkpoints
            # of a family.
            digest.update(f"{path.parent.name}/{path.name}".encode() + header + file.read(4096))
    return digest.hexdigest()[:16]


def _from_hub(model: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*/*.json", "*.jinja", "*/*.jinja", "*/*.txt", "*/*.model"]
    try:
        return Path(snapshot_download(model, allow_patterns=wanted + ["*/*.safetensors"] * weights))
    except Exception as error:  # noqa: BLE001 - any error of the hub becomes one line
        raise ParityError(f"{model} is not a folder and could not be downloaded ({error})") from None
