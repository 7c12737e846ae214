"""Load the port a second time, quantized, and compare both: stage by stage with the reference, layer by layer with each
other.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
from mlx import nn

from parity.answers import ABSENT
from parity.compare import quantized as compare
from parity.compare.claim_row import Row
from parity.compare.limits import Limits
from parity.compare.pairing import Pairing
from parity.compare.quantized import Layer
from parity.errors import ParityError
from parity.metrics import relative_error
from parity.record.recording import Recording
from parity.run.mlx_port import Port, load
from parity.run.mlx_taps import components, to_numpy
from parity.run.patches import Patches
from parity.run.stages import TEXT_ENCODER, TRANSFORMER, VAE_DECODE, VAE_ENCODE, Judge

STAGES = (VAE_DECODE, VAE_ENCODE, TRANSFORMER, TEXT_ENCODER)  # each from the reference's own input


def judge(
    where: str, folder: Path, sizes: dict, recording: Recording, bits: int, say: Callable[[Row], None]
) -> list[Row]:
    """A row for each component's layers, then one for each stage."""
    with _narrow_layers_stay() if (folder / "sizes.json").is_file() else contextlib.nullcontext():
        return _judge(where, folder, sizes, recording, bits, say)


def _judge(where: str, folder: Path, sizes: dict, recording: Recording, bits: int, say) -> list[Row]:
    full = load(where, folder, "float32", sizes)
    small = load(where, folder, "float32", sizes, {"quantize": bits})
    listed, rows = unquantized(small), []
    for name, part in components(small.model).items():
        layers = _layers(part, components(full.model)[name])
        if layers:
            rows.append(compare.judge(name, layers, bits, listed))
            say(rows[-1])
    if not any(isinstance(part, nn.QuantizedLinear) for part in small.model.modules()):
        raise ParityError(
            f"{where} quantized no layer at {bits} bits; its class must take quantize and pass it to its initializer"
        )
    errors = [_errors(port, recording) for port in (full, small)]
    for stage in STAGES:
        if all(stage in found for found in errors):
            rows.append(compare.stage(stage, errors[0][stage], errors[1][stage], bits))
            say(rows[-1])
    return rows


def unquantized(port: Port) -> tuple[str, ...] | None:
    """The list in the port's weight definition."""
    package = ".".join(type(port.model).__module__.split(".")[:3])
    for name, module in sys.modules.items():
        if name.startswith(f"{package}.") and name.endswith("_weight_definition"):
            for value in vars(module).values():
                if isinstance(value, type) and hasattr(value, "UNQUANTIZED"):
                    return tuple(value.UNQUANTIZED)
    return None


@contextlib.contextmanager
def _narrow_layers_stay() -> Iterator[None]:
    """A twin has layers that are narrower than a group, unlike the reference: they stay unquantized."""
    original, patches = nn.quantize, Patches()

    def quantize(model, group_size=64, bits=4, *args, class_predicate=None, **rest):
        def wide(path, module):
            wanted = class_predicate(path, module) if class_predicate else hasattr(module, "to_quantized")
            return wanted if wanted and module.weight.shape[-1] % group_size == 0 else False

        return original(model, group_size, bits, *args, class_predicate=wide, **rest)

    patches.set(nn, "quantize", quantize)
    try:
        yield
    finally:
        patches.undo()


def _layers(small: nn.Module, full: nn.Module) -> list[Layer]:
    """Every layer of ``full`` that can be quantized: a layer narrower than a group cannot."""
    own, found = dict(small.named_modules()), []
    for path, part in full.named_modules():
        if not hasattr(part, "to_quantized") or part.weight.shape[-1] % 64 or part.weight.ndim != 2:
            continue
        other = own.get(path)
        if other is None or not hasattr(other, "scales"):
            found.append(Layer(path, None))
            continue
        weight = mx.dequantize(other.weight, other.scales, other.get("biases"), other.group_size, other.bits)
        found.append(Layer(path, other.bits, relative_error(to_numpy(part.weight), to_numpy(weight))))
    return found


def _errors(port: Port, recording: Recording) -> dict[str, float]:
    judge = Judge(port, recording, Limits("float32"), Pairing(), bisect=False)
    results = [judge.judge(stage) for stage in STAGES]
    return {result.stage: result.relative for result in results if result.status != ABSENT}
