"""Bugs in a quantized copy of a port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import mlx.core as mx
from bugs import replaced
from bugs.claims.claim import QUANTIZED, Claim
from mflux.models.z_image.weights.z_image_weight_definition import ZImageWeightDefinition
from mlx import nn

LISTED = ("*embedder*", "*adaLN*")


def predicate(choose: Callable) -> Callable:
    """A weight definition that lists LISTED; ``choose(path, module)`` says what is really quantized."""

    @contextlib.contextmanager
    def change():
        with replaced(ZImageWeightDefinition, "UNQUANTIZED", LISTED):
            with replaced(ZImageWeightDefinition, "quantization_predicate", staticmethod(choose)):
                yield

    return change


def _listed(path, module) -> bool:
    return hasattr(module, "to_quantized") and not any(word.strip("*") in path for word in LISTED)


def _with_layers(change: Callable) -> Callable:
    original = nn.quantize

    def quantize(model, *args, **kwargs):
        original(model, *args, **kwargs)
        layers = [part for _, part in model.named_modules() if isinstance(part, nn.QuantizedLinear)]
        if layers:
            change(layers)

    @contextlib.contextmanager
    def entered():
        with predicate(_listed)(), replaced(nn, "quantize", quantize):
            yield

    return entered


def _with_one_layer(change: Callable) -> Callable:
    return _with_layers(lambda layers: change(layers[0]))


def _requantize(layer: nn.QuantizedLinear) -> None:
    weight = mx.dequantize(layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits)
    layer.bits = 8
    layer.weight, layer.scales, layer.biases = mx.quantize(weight, layer.group_size, 8)


def _swapped_weights(layers: list[nn.QuantizedLinear]) -> None:
    one, other = [layer for layer in layers if layer.weight.shape == layers[0].weight.shape][:2]
    one.weight, other.weight = other.weight, one.weight


def _halved(layer: nn.QuantizedLinear) -> None:
    layer.scales = layer.scales * 0.5


def _shifted(layer: nn.QuantizedLinear) -> None:
    layer.scales = mx.roll(layer.scales, 1, axis=0)


def _without_zero_points(layer: nn.QuantizedLinear) -> None:
    layer.biases = mx.zeros_like(layer.biases)


CLAIMS = (
    Claim("embedder quantized", QUANTIZED, predicate(lambda path, module: hasattr(module, "to_quantized")), "transformer", "UNQUANTIZED lists it"),
    Claim("a layer left in full precision", QUANTIZED, predicate(lambda path, module: _listed(path, module) and "layers.1" not in path), "transformer", "does not list it"),
    Claim("one layer with different bits", QUANTIZED, _with_one_layer(_requantize), "", "in 8 bits, not 4"),
    Claim("a broken layer", QUANTIZED, _with_one_layer(_halved), "", "lost its weight"),
    Claim("one listed layer in 4 bits", QUANTIZED, predicate(lambda path, module: _listed(path, module) or (hasattr(module, "to_quantized") and "layers.1.adaLN" in path)), "transformer", "UNQUANTIZED lists it"),
    Claim("no zero points", QUANTIZED, _with_one_layer(_without_zero_points), "", "lost its weight"),
    Claim("scales of the next row", QUANTIZED, _with_one_layer(_shifted), "", "lost its weight"),
    Claim("two layers' weights exchanged", QUANTIZED, _with_layers(_swapped_weights), "", "lost its weight"),
)  # fmt: skip
