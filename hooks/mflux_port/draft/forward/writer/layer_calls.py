"""Calls of layers: torch's own, those derived from them, and Sequentials."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Refused, already_written, filled
from mflux_port.draft.forward.torch_calls.padding_and_convolution import repeated
from mflux_port.draft.forward.writer.layers import layer_call


class LayerCalls:
    """The part of the writer that writes calls of layers."""

    def _inherited(self, node: ast.Call) -> ast.expr:
        """``super().forward(x)`` of a class that derives from one of torch's layers."""
        from torch import nn

        module = self.project.recording.instances[self.place[1]][0]
        layer = ast.parse("super().__call__", mode="eval").body
        if len(node.args) != 1 or node.keywords:
            raise Refused(node, "super() with more than one argument")
        x = self.expr(node.args[0])
        if isinstance(module, nn.modules.conv._ConvNd):
            return self.helper("channels_last", layer, x)
        if isinstance(module, nn.GroupNorm):
            return self.helper("channels_last_norm", layer, x)
        if isinstance(module, (nn.Linear, nn.LayerNorm, nn.Embedding)):
            return ast.Call(layer, [x], [])
        if isinstance(module, nn.Upsample):
            return self._upsampled(node, module, x)
        raise Refused(node, "super()")

    def _modules(self, node: ast.Call, modules: list) -> ast.expr:
        from torch import nn

        if all(isinstance(module, nn.Sequential) for module in modules):
            return self._sequence(node, modules)
        texts = {layer_call(module) for module in modules}
        if texts == {None}:
            return self._torch_module(node, modules)
        if len(texts) > 1 or None in texts:
            raise Refused(node, "layers of several kinds in one call")
        return self._layer(node, texts.pop(), self.expr(node.func))

    def _layer(self, node: ast.Call, text: str, layer: ast.expr) -> ast.expr:
        if len(node.args) != 1 or any(keyword.arg not in ("scale",) for keyword in node.keywords):
            if not (len(node.keywords) == 1 and not node.args):
                raise Refused(node, "a layer with more than one argument")
        value = node.args[0] if node.args else node.keywords[0].value
        x = self.expr(value)
        if not text:
            return x
        return filled(text, {"x": x, "layer": layer})

    def _torch_module(self, node: ast.Call, modules: list) -> ast.expr:
        from torch import nn

        first = modules[0]
        if self.project.graph.targets(self.place, node) or isinstance(node.func, ast.Name):
            return self._recorded(node)
        if isinstance(first, nn.Upsample):
            return self._upsampled(node, first, self.expr(node.args[0]))
        if isinstance(first, (nn.ZeroPad2d, nn.ReplicationPad2d, nn.ConstantPad2d)):
            return self._padded(node, first)
        if isinstance(first, (nn.PixelShuffle, nn.PixelUnshuffle)):
            factor = getattr(first, "upscale_factor", None) or first.downscale_factor
            name = "pixel_shuffle" if isinstance(first, nn.PixelShuffle) else "pixel_unshuffle"
            return self.helper(name, self.expr(node.args[0]), ast.Constant(factor))
        if isinstance(first, nn.AvgPool2d) and first.kernel_size == first.stride and not first.padding:
            return self.helper("average_pool", self.expr(node.args[0]), ast.Constant(first.kernel_size))
        if isinstance(first, (nn.Flatten, nn.Unflatten)):
            return self._flat(node, first)
        if isinstance(first, nn.MultiheadAttention):
            return self._multi_head(node, first)
        raise Refused(node, f"the layer {type(first).__name__}")

    def _flat(self, node: ast.Call, module) -> ast.expr:
        x = self.expr(node.args[0])
        if hasattr(module, "start_dim"):
            return filled(f"x.flatten({module.start_dim}, {module.end_dim})", {"x": x})
        return filled(f"mx.unflatten(x, {module.dim}, {tuple(module.unflattened_size)})", {"x": x})

    def _upsampled(self, node: ast.Call, module, x: ast.expr, rank: int | None = None) -> ast.expr:
        factor, fact = module.scale_factor, self.fact(node.args[0])
        rank = fact.rank if fact is not None else rank
        if not str(module.mode).startswith("nearest") or rank is None or factor is None:
            raise Refused(node, f"Upsample with mode {module.mode}")
        factors = factor if isinstance(factor, tuple) else (factor,) * (rank - 2)
        if any(int(one) != one for one in factors):
            raise Refused(node, "Upsample by a factor that is not a whole number")
        return repeated(x, factors)

    def _padded(self, node: ast.Call, module) -> ast.expr:
        from torch import nn

        if getattr(module, "value", 0):
            raise Refused(node, f"the layer {type(module).__name__}")
        widths = ast.parse(repr(tuple(module.padding)), mode="eval").body
        mode = "edge" if isinstance(module, nn.ReplicationPad2d) else "constant"
        return self.helper("pad_last", self.expr(node.args[0]), widths, ast.Constant(mode))

    def _multi_head(self, node: ast.Call, module) -> ast.expr:
        ok = module.batch_first and module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
        given = {keyword.arg for keyword in node.keywords}
        masks = [k for k in node.keywords if k.arg in ("attn_mask", "key_padding_mask")]
        masked = any((fact := self.fact(k.value)) is None or not fact.always("none") for k in masks)
        if not ok or masked or len(node.args) != 3 or given - {"need_weights", "attn_mask", "key_padding_mask"}:
            raise Refused(node, "MultiheadAttention in a form that is not read")
        layer = self.expr(node.func)
        text = ("SHARED.multi_head_attention(q.swapaxes(0, 1), k.swapaxes(0, 1), v.swapaxes(0, 1), n, "
                "mx.split(layer.in_proj_weight, 3), layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias).swapaxes(0, 1)")  # fmt: skip
        values = dict(zip("qkv", (self.expr(value) for value in node.args), strict=True))
        out = filled(text, values | {"layer": layer, "n": ast.Constant(module.num_heads)})
        return ast.Tuple([out, ast.Constant(None)], ast.Load())

    def _sequence(self, node: ast.Call, modules: list) -> ast.expr:
        """A Sequential's layers as nested calls."""
        shapes = {tuple(type(part).__name__ for part in module) for module in modules}
        if len(shapes) > 1 or len(node.args) != 1 or node.keywords:
            raise Refused(node, "Sequentials of different structure in one call")
        holder, value = self.expr(node.func), self.expr(node.args[0])
        fact = self.fact(node.args[0])
        self.rank = fact.rank if fact is not None else getattr(self, "rank", None)
        for place in range(len(modules[0])):
            value = self._part(node, [module[place] for module in modules], holder, place, value)
        return value

    def _part(self, node: ast.Call, parts: list, holder: ast.expr, place: int, value: ast.expr) -> ast.expr:
        from torch import nn

        here = ast.Subscript(holder, ast.Constant(place), ast.Load())
        inner = ast.copy_location(ast.Call(already_written(here), [already_written(value)], []), node)
        inner.number = -1
        if all(isinstance(part, nn.Sequential) for part in parts):
            return self._sequence(inner, parts)
        texts = {layer_call(part) for part in parts}
        if len(texts) > 1:
            raise Refused(node, "layers of several kinds in one call")
        text = texts.pop()
        if text is not None:
            return self._layer(inner, text, here)
        if isinstance(parts[0], (nn.Flatten, nn.Unflatten)):
            self.rank = None
        if type(parts[0]) is nn.Upsample:
            return self._upsampled(inner, parts[0], value, self.rank)
        if type(parts[0]) is nn.AvgPool2d:
            raise Refused(node, f"{type(parts[0]).__name__} in a Sequential")
        if isinstance(parts[0], (nn.PixelShuffle, nn.PixelUnshuffle, nn.Flatten, nn.Unflatten, nn.ZeroPad2d)):
            return self._torch_module(inner, parts)
        places = [self.project.graph.place(part, "") for part in parts]
        if None in places:
            raise Refused(node, f"the layer {type(parts[0]).__name__}")
        self.out.outside |= {target for target, _ in places}
        return inner
