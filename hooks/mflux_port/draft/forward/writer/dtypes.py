"""Types of arrays: torch's names in MLX, and the type that a layer computes in."""

from __future__ import annotations

import ast
import re

from mflux_port.draft.forward.torch_calls.entry import Refused, filled
from mflux_port.draft.forward.writer.layers import layer_call

DTYPES = {
    "float32": "mx.float32", "float": "mx.float32", "float64": "mx.float32", "double": "mx.float32",
    "float16": "mx.float16", "half": "mx.float16", "bfloat16": "mx.bfloat16", "int8": "mx.int8", "uint8": "mx.uint8",
    "int16": "mx.int16", "int32": "mx.int32", "int": "mx.int32", "int64": "mx.int64", "long": "mx.int64",
    "bool": "mx.bool_",
}  # fmt: skip


class Types:
    """The part of the writer that writes types."""

    def dtype(self, node: ast.expr) -> ast.expr | None:
        """A type in MLX; None for a type that does not exist there (a complex one)."""
        match = re.fullmatch(r"torch\.(\w+)", ast.unparse(node))
        if match:
            return filled(DTYPES[match[1]], {}) if match[1] in DTYPES else self._odd_dtype(node, match[1])
        if isinstance(node, ast.Attribute) and node.attr == "dtype":
            return self.parameters_dtype(node) or self._dtype_of(node)
        if isinstance(node, ast.Name):
            if node.id in self.parameters and not self.parameters[node.id].keep and node.id not in self.stored:
                return self._constant_dtype(node)
            return self._constant_dtype(node) if self._is_global(node.id) else ast.Name(node.id, ast.Load())
        if isinstance(node, ast.IfExp):
            verdict = self.truth(node.test)
            if verdict is not None:
                return self.dtype(node.body if verdict else node.orelse)
        if isinstance(node, ast.Call):
            return self._layer_dtype(node)
        return self._constant_dtype(node)

    def _odd_dtype(self, node: ast.expr, name: str) -> None:
        if name.startswith("complex"):
            return None
        raise Refused(node, f"the type torch.{name}")

    def _constant_dtype(self, node: ast.expr) -> ast.expr:
        value = self.value(node)
        if isinstance(value, str) and value.startswith("torch.") and self.from_config(node):
            name = value.removeprefix("torch.")
            if name in DTYPES:
                return filled(DTYPES[name], {})
        raise Refused(node, f"the type {ast.unparse(node)}")

    def _dtype_of(self, node: ast.Attribute) -> ast.expr:
        fact = self.fact(node.value)
        if fact is not None and fact.always("tensor"):
            if node.value and isinstance(node.value, ast.Attribute) and node.value.attr == "weight":
                layer = self.expr(node.value.value)
                return self.helper("weight_dtype", layer)
            if self.is_complex(node.value):
                return filled("mx.float32", {})
            return filled("x.dtype", {"x": self.expr(node.value)})
        if fact is not None and fact.always("module"):
            return self._module_dtype(node.value, fact)
        raise Refused(node, f"the type {ast.unparse(node)}")

    def _layer_dtype(self, node: ast.Call) -> ast.expr:
        # A function that selects a type by the device is replaced by its result, if the config decides it.
        return self._constant_dtype(node)

    def _module_dtype(self, node: ast.expr, fact) -> ast.expr:
        """``module.dtype``: the type of its first layer's weight."""
        from torch import nn

        paths = {self._first_layer(module) for module in fact.objects.values() if isinstance(module, nn.Module)}
        if len(paths) != 1 or None in paths:
            raise Refused(node, f"the type of {ast.unparse(node)}, which holds no layer")
        target = self.expr(node)
        for part in paths.pop().split("."):
            index = ast.Constant(int(part)) if part.isdigit() else None
            target = ast.Subscript(target, index, ast.Load()) if index else ast.Attribute(target, part, ast.Load())
        return self.helper("weight_dtype", target)

    @staticmethod
    def _first_layer(module) -> str | None:
        from torch import nn

        layers = [(path, part) for path, part in module.named_modules() if path]
        linear = (path for path, part in layers if isinstance(part, nn.Linear))
        return next(linear, next((path for path, part in layers if layer_call(part) and hasattr(part, "weight")), None))

    def parameters_dtype(self, node: ast.expr) -> ast.expr | None:
        """``next(module.parameters()).dtype``, or None for another expression."""
        if not re.fullmatch(r"next\((iter\()?[\w.\[\]]+\.parameters\(\)\)?\)\.dtype", ast.unparse(node)):
            return None
        call = node.value.args[0]
        call = call.args[0] if ast.unparse(call.func) == "iter" else call
        inner = call.func.value
        return self._module_dtype(inner, self.fact(inner))
