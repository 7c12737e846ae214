"""Load every LoRA file of a recording into the port and compare what it adds to each layer's weight."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.answers import ABSENT, FAIL, NOT_RUN
from parity.compare import lora as compare
from parity.compare.limits import Limits
from parity.compare.lora import FileResult
from parity.compare.pairing import Pairing
from parity.errors import ParityError
from parity.record.lora_files import TRAINED, directions
from parity.record.recording import Recording
from parity.run.mlx_port import Port, load
from parity.run.mlx_taps import to_numpy
from parity.run.patches import Patches
from parity.run.stages import TRANSFORMER, Judge, Result, first_line


class LoraLoading:
    """The port's own way to load LoRA files: what its constructor hands to mflux's loader, kept for more files."""

    def __init__(self):
        self.calls: list[dict] = []
        self.original: Callable | None = None
        self.refused = ""  # why the constructor's file was not loaded

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        from mflux.models.common.lora.mapping.lora_loader import LoRALoader

        self.original = LoRALoader.load_and_apply_lora
        signature = inspect.signature(self.original)

        def watched(*args, **kwargs):
            self.calls.append(signature.bind(*args, **kwargs).arguments)
            try:
                return self.original(*args, **kwargs)
            except ValueError as error:
                self.refused = first_line(error)
                return [], []

        patches = Patches()
        patches.set(LoRALoader, "load_and_apply_lora", staticmethod(watched))
        try:
            yield
        finally:
            patches.undo()

    def apply(self, path: Path, scale: float) -> None:
        """Load one more file as the constructor loaded the first."""
        self.original(**self.calls[0] | {"lora_paths": [str(path)], "lora_scales": [scale]})


def load_with_lora(where: str, folder: Path, sizes: dict, path: Path) -> tuple[Port, LoraLoading]:
    """The port, built with one LoRA file. Raises ParityError when its class takes none."""
    loading = LoraLoading()
    more = {"lora_paths": [str(path)], "lora_scales": [TRAINED.scale], "bake_lora": False}
    with loading.attached():
        port = load(where, folder, "float32", sizes, more)
    if not loading.calls:
        raise ParityError(f"{where} loads no LoRA with LoRALoader.load_and_apply_lora; call it in the initializer")
    return port, loading


def judge(
    where: str, folder: Path, sizes: dict, recording: Recording, waivers, say: Callable[[FileResult], None]
) -> tuple[list[FileResult], Result]:
    """Judge every file, then one call of the transformer with a LoRA loaded."""
    files = recording.path.with_suffix("")
    port, loading = load_with_lora(where, folder, sizes, files / f"{TRAINED.name}.safetensors")
    network = loading.calls[0]["transformer"]
    updates = _updates(network)
    call = Result(TRANSFORMER, NOT_RUN, note="the LoRA was refused")
    if not loading.refused:
        call = Judge(port, recording, Limits("float32"), Pairing(), bisect=False).judge(TRANSFORMER)
    _restore(network)
    layers = compare.Layers(recording, stored_effects(network))
    results = [compare.judge(recording, TRAINED.name, layers, updates, waivers)]
    if loading.refused:
        results = [FileResult(TRAINED.name, FAIL, note=f"refused: {loading.refused}", worst=1.0)]
    say(results[0])
    for name, file in recording.facts["lora"]["files"].items():
        if name != TRAINED.name:
            results.append(_judge_file(files / f"{name}.safetensors", file, loading, layers, recording, waivers))
            say(results[-1])
    return results, call


def _judge_file(path: Path, file: dict, loading: LoraLoading, layers, recording: Recording, waivers) -> FileResult:
    name, network = path.stem, loading.calls[0]["transformer"]
    if not file["layers"]:
        return FileResult(name, ABSENT, note="the reference does not load it")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            loading.apply(path, file["scale"])
        return compare.judge(recording, name, layers, _updates(network), waivers)
    except ValueError as error:
        if "not supported" in str(error):
            return FileResult(name, ABSENT, note=f"mflux refuses it: {first_line(error)}")
        reason = waivers.module_at(f"lora.{name}.refused", 1.0)
        keys = next(iter(file["layers"].values()))
        return (
            FileResult(name, FAIL, note=f"refused, such as {keys[0]}: {first_line(error)}", worst=1.0)
            if not reason
            else FileResult(name, "waived", note=reason)
        )
    finally:
        _restore(network)


def _adapters() -> tuple[type, ...]:
    from mflux.models.common.lora.layer.fused_linear_lora_layer import FusedLoRALinear
    from mflux.models.common.lora.layer.linear_lora_layer import LoRALinear

    try:
        from mflux.models.common.lora.layer.linear_lokr_layer import LoKrLinear
    except ImportError:
        return FusedLoRALinear, LoRALinear
    return FusedLoRALinear, LoRALinear, LoKrLinear


def _base(layer: nn.Module) -> nn.Module:
    return layer.base_linear if "base_linear" in layer else layer.linear


def _restore(network: nn.Module) -> None:
    """Remove all LoRA layers. The weights below them were never changed."""
    kinds = _adapters()

    def walk(part):
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, child in list(items):
            if isinstance(child, kinds):
                part[key] = _base(child)
            elif isinstance(child, dict | list):
                walk(child)

    walk(network)


def stored_effects(network: nn.Module) -> dict[str, tuple[int, np.ndarray]]:
    """For each linear layer its number of inputs and its weight's result for the fixed inputs."""
    layers = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    return {path: (part.weight.shape[1], _effect(part)) for path, part in layers}


def _updates(network: nn.Module) -> dict[str, np.ndarray]:
    """What a LoRA adds to the result of each linear layer for the fixed inputs; zeros without one."""
    kinds, found, inside = _adapters(), {}, []
    for path, part in sorted(network.named_modules(), key=lambda item: item[0].count(".")):
        if any(path.startswith(f"{other}.") for other in inside):
            continue
        if isinstance(part, kinds):
            inside.append(path)
            found[path] = _effect(part) - _effect(_base(part))
        elif isinstance(part, nn.Linear):
            found[path] = np.zeros((part.weight.shape[0], directions(1).shape[1]), np.float32)
    return found


def _effect(layer: nn.Module) -> np.ndarray:
    """A layer's result for the fixed inputs, without its bias, (outputs, directions)."""
    base = layer if isinstance(layer, nn.Linear) else _base(layer)
    inputs = mx.array(directions(base.weight.shape[1]).T)
    return to_numpy(layer(inputs) - layer(mx.zeros_like(inputs))).T
