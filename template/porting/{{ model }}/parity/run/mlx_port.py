"""Load the port with its own initializer: in one dtype, at the checkpoint's sizes, as far as it is written."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import struct
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from parity.answers import import_class
from parity.errors import ParityError
from parity.record.components import is_network, read_json
from parity.run.mlx_taps import components
from parity.run.patches import Patches
from parity.run.residents import Residents

MOST_SPARE, SMALL = 4, 50_000_000  # a component may hold tables that are in no file
_CACHE = 1 << 30  # bytes of freed memory that MLX keeps: without a limit, as much as the largest stage took
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}


@dataclass
class Port:
    """The model. ``residents`` controls what is in memory, ``unwritten`` why a component could not be loaded."""

    model: nn.Module
    residents: Residents
    unwritten: dict[str, str] = field(default_factory=dict)

    def component(self, name: str) -> nn.Module | None:
        return components(self.model).get(name)


def load(where: str, folder: Path, dtype: str, sizes: dict[str, dict], more: dict | None = None) -> Port:
    """The port's class from ``module:Class`` with the weights of ``folder``, all parameters in ``dtype``.

    ``sizes`` names constructor arguments that have another name in the checkpoint's config files:
    ``{"transformer": {"width": "hidden_size"}}``. ``more`` has arguments of the port's class; what it does not take is
    left out.
    """
    _set_precision(DTYPES[dtype])
    mx.set_cache_limit(_CACHE)
    mx.disable_compile()  # a compiled function runs no Python, so nothing in it can be recorded
    kind = import_class(where)
    unwritten: dict[str, str] = {}
    model = _build(where, kind, folder, sizes, unwritten, more or {})
    verify_size(model, folder)
    residents = Residents(model, lambda: _build(where, kind, folder, sizes, {}, more or {}), DTYPES[dtype])
    return Port(model, residents, unwritten)


def _build(
    where: str, kind: type, folder: Path, sizes: dict[str, dict], unwritten: dict[str, str], more: dict
) -> nn.Module:
    """The port as its own initializer makes it. None of its weights are read yet."""
    undo = [*_size_to(kind, folder, sizes), *_load_leniently(unwritten)]
    patches = Patches()
    patches.set(mx, "eval", lambda *arrays: None)  # an initializer may read all weights at once
    try:
        known = inspect.signature(kind).parameters
        return kind(model_path=str(folder), **{name: value for name, value in more.items() if name in known})
    except NotImplementedError as error:
        raise ParityError(f"the port {where} cannot be built yet ({error}); write its initializer first") from None
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        cure = "run its fast tests first"
        if "unexpected keyword argument" in reason:  # the template's own modules have other names for a model's sizes
            cure = "its class must take the sizes from the registry, as the classes of `mflux-port draft` do"
        raise ParityError(f"the port {where} cannot load {folder} ({reason}); {cure}") from None
    finally:
        patches.undo()
        for step in reversed(undo):
            step()


def _set_precision(dtype: mx.Dtype) -> None:
    # Before the port is imported: some of mflux's defaults are read from it at import.
    from mflux.models.common.config.model_config import ModelConfig

    ModelConfig.precision = dtype


def _size_to(kind: type, folder: Path, sizes: dict[str, dict]) -> list:
    """Make the initializer use the twin's sizes instead of those that it hard-codes. Only for a tiny twin."""
    if not (folder / "sizes.json").is_file():
        return []
    undo = []
    for name, classes in _annotated(kind).items():
        if not is_network(folder, name):
            continue
        config = _flat(read_json(folder / name / "config.json"))
        for part in classes:
            undo += _replace_everywhere(part, _sized(part, config, sizes.get(name, {})))
    return undo


def verify_size(model: nn.Module, folder: Path) -> None:
    """Raise ParityError when the port is far larger than its weights: what was not loaded would fill memory.

    MLX computes a parameter on first use, so a module of any size can be built and counted.
    """
    sizes = {
        name: sum(array.size for _, array in tree_flatten(part.parameters()))
        for name, part in components(model).items()
    }
    stored = sum(_stored(path) for path in folder.glob("*/*.safetensors"))
    if sum(sizes.values()) > MOST_SPARE * stored + SMALL:
        largest = max(sizes, key=sizes.__getitem__)
        raise ParityError(
            f"the port's {largest} ({type(components(model)[largest]).__name__}) has {sizes[largest] / 1e6:.0f} million "
            f"numbers, all of the checkpoint has {stored / 1e6:.0f} million: its sizes are fixed in its code. Let "
            "its constructor take them; SIZES in run_mflux.py gives them other names"
        )


def _stored(path: Path) -> int:
    """How many numbers a file of weights has."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _annotated(kind: type) -> dict[str, list[type]]:
    found = {}
    for name, annotation in typing.get_type_hints(kind).items():
        options = typing.get_args(annotation) or (annotation,)
        classes = [option for option in options if isinstance(option, type) and issubclass(option, nn.Module)]
        if classes:
            found[name] = classes
    return found


def _flat(config: dict) -> dict:
    # Sizes may be one level down: in text_config, and the RoPE base in rope_parameters. Both towers have a hidden_size.
    flat = {}
    for name, part in config.items():
        if isinstance(part, dict):
            prefix = "vision_" if name == "vision_config" else ""
            flat |= {prefix + key: value for key, value in _flat(part).items()}
    return flat | {key: value for key, value in config.items() if not isinstance(value, dict)}


def _sized(part: type, config: dict, renamed: dict[str, str]):
    signature = inspect.signature(part)

    def known(names) -> dict:
        values = {name: config.get(renamed.get(name, name)) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def build(*args, **kwargs):
        bound = signature.bind_partial(*args, **kwargs)
        bound.arguments |= known(signature.parameters)
        for name, parameter in signature.parameters.items():
            value = bound.arguments.get(name, parameter.default)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):  # it holds all sizes
                fields = [field.name for field in dataclasses.fields(value)]
                bound.arguments[name] = dataclasses.replace(value, **known(fields))
        return part(*bound.args, **bound.kwargs)

    return build


def _replace_everywhere(part: type, build) -> list:
    undo = []
    for module in [module for name, module in sys.modules.items() if name.endswith("_initializer")]:
        for name, value in list(vars(module).items()):
            if value is part:
                setattr(module, name, build)
                undo.append(lambda module=module, name=name: setattr(module, name, part))
    return undo


def _load_leniently(unwritten: dict[str, str]) -> list:
    """A component that cannot be loaded is noted and left as it was built, so that the others can be compared."""
    from mflux.models.common.weights.loading.weight_loader import WeightLoader

    original = getattr(WeightLoader, "_load_component", None)
    if original is None:
        return []

    def load_component(root_path, component, *args, **kwargs):
        try:
            return original(root_path, component, *args, **kwargs)
        except (OSError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            unwritten[component.name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return {}, None, None

    WeightLoader._load_component = staticmethod(load_component)
    return [lambda: setattr(WeightLoader, "_load_component", staticmethod(original))]
