"""Calls: of torch's functions by the table, of layers, of other recorded functions and modules."""

from __future__ import annotations

import ast
import builtins
import re

from mflux_port.draft.forward.record.facts import MANY
from mflux_port.draft.forward.record.provenance import argument
from mflux_port.draft.forward.record.sources import key_of
from mflux_port.draft.forward.table.call import Arguments, Refused, filled
from mflux_port.draft.forward.table.calls import CALLS, LIBRARY_CALLS
from mflux_port.draft.forward.writer.complex_calls import complex_call, complex_made
from mflux_port.draft.forward.writer.layers import layer_call
from mflux_port.draft.forward.writer.project import is_processor

_PYTHON = {name for name in vars(builtins) if name.islower()} - {
    "isinstance",
    "hasattr",
    "getattr",
    "type",
    "super",
    "id",
}
_ASKS = ("isinstance", "hasattr", "getattr", "callable", "is_grad_enabled", "is_scripting", "is_tracing", "is_compiling",
         "is_torch_npu_available", "is_torch_xla_available", "is_torchdynamo_compiling")  # fmt: skip


class Invocations:
    """The part of the writer that writes calls."""

    def _Call(self, node: ast.Call) -> ast.expr:
        function, name = node.func, _last(node.func)
        if ast.unparse(function) in ("super().forward", "super().__call__"):
            return self._inherited(node)
        if name in _ASKS:
            return self._asked(node, name)
        fact = self.fact(function)
        if isinstance(function, ast.Name) and function.id in self.elements:
            return self._modules(node, self.elements[function.id][1])
        if fact is not None and fact.always("module"):
            return self._modules(node, list(fact.objects.values()))
        if name in LIBRARY_CALLS and fact is not None:
            return self.table(node, LIBRARY_CALLS[name], list(node.args), name)
        if fact is not None and self._library_name(fact) in LIBRARY_CALLS:
            called = self._library_name(fact)
            return self.table(node, LIBRARY_CALLS[called], list(node.args), called)
        if self.project.graph.targets(self.place, node):
            return self._recorded(node, fact)
        if isinstance(function, ast.Attribute):
            return self._attribute_call(node, fact)
        return self._plain_call(node, fact)

    def _library_name(self, fact) -> str:
        names = {getattr(value, "__name__", "") for value in fact.objects.values()}
        return names.pop() if len(names) == 1 else ""

    # Questions about Python values.

    def _asked(self, node: ast.Call, name: str) -> ast.expr:
        value = self.value(node)
        if value is not MANY and isinstance(value, (bool, str, type(None))) and self.from_config(node):
            return ast.Constant(value)
        if name == "getattr" and isinstance(node.args[1], ast.Constant):
            fact = self.fact(node)
            if fact is not None and fact.kinds & {"module", "modulelist", "int", "float", "tensor"}:
                self.out.reads |= {(group, node.args[1].value) for group in self.owners(node.args[0])}
                return ast.Attribute(self.expr(node.args[0]), node.args[1].value, ast.Load())
        if name == "isinstance":
            kinds = ast.unparse(node.args[1]).replace("torch.Tensor", "mx.array")
            if re.fullmatch(r"\(?((mx\.array|int|float|list|tuple|dict|str|bool)(, )?)+\)?", kinds):
                return filled(
                    "isinstance(x, k)", {"x": self.expr(node.args[0]), "k": ast.parse(kinds, mode="eval").body}
                )
        raise Refused(node, f"{ast.unparse(node)}, which data decide")

    # torch's functions and methods.

    def _attribute_call(self, node: ast.Call, fact) -> ast.expr:
        function = node.func
        text, name = ast.unparse(function), function.attr
        receiver = self.fact(function.value)
        if receiver is not None and receiver.always("tensor"):
            return self.by_name(node, name, [function.value, *node.args])
        if re.match(r"(torch|F|nn)\b[\w.]*$", text):
            return self.by_name(node, name, list(node.args))
        if re.match(r"math\.\w+$", text):
            return ast.Call(function, [self.expr(value) for value in node.args], [])
        if re.match(r"np\.(sqrt|log|prod|ceil|floor)$", text) and not self._reads_arrays(node):
            plain = f"math.{name}(x)"
            return filled(plain, {"x": self.expr(node.args[0])})
        if receiver is not None and receiver.always("list", "tuple", "dict", "str", "int", "float", "size"):
            if name == "numel":
                return filled("math.prod(x)", {"x": self.expr(function.value)})
            return self._python(node, ast.Attribute(self.expr(function.value), name, ast.Load()))
        if fact is not None and fact.always("function") and name in CALLS and self._is_torch(fact):
            return self.by_name(node, name, list(node.args))
        raise Refused(node, f"a call of {text}" + (", which no run showed" if fact is None else ""))

    def _plain_call(self, node: ast.Call, fact) -> ast.expr:
        function = node.func
        if isinstance(function, ast.Name) and function.id in _PYTHON and not self._is_global(function.id):
            return self._python_call(node, function.id)
        if isinstance(function, ast.Name) and function.id in self.inner:
            return self._python(node, ast.Name(function.id, ast.Load()))
        if fact is not None and fact.always("function") and self._is_torch(fact):
            return self.by_name(node, self._library_name(fact), list(node.args))
        if fact is not None and fact.always("type"):
            return self._made(node, fact)
        raise Refused(node, f"a call of {ast.unparse(function)}" + (", which no run showed" if fact is None else ""))

    def _made(self, node: ast.Call, fact) -> ast.expr:
        names = {value.__name__ for value in fact.objects.values()}
        if names == {"DiagonalGaussianDistribution"}:
            # A port takes the mode: the mean of the two halves that the encoder gives.
            return filled("mx.split(x, 2, axis=1)[0]", {"x": self.expr(node.args[0])})
        if self.is_output(node):
            values = [self.expr(value) for value in self.output_values(node)]
            return values[0] if len(values) == 1 else ast.Tuple(values, ast.Load())
        raise Refused(node, f"an object of {', '.join(sorted(names))}")

    def _is_torch(self, fact) -> bool:
        modules = [getattr(value, "__module__", None) or "torch" for value in fact.objects.values()]
        names = [str(getattr(value, "__qualname__", "")) for value in fact.objects.values()]
        return all(module.startswith("torch") for module in modules) or all(
            "_VariableFunctions" in one for one in names
        )

    def _reads_arrays(self, node: ast.Call) -> bool:
        facts = [self.fact(value) for value in node.args]
        return any(fact is None or "tensor" in fact.kinds for fact in facts)

    def by_name(self, node: ast.Call, name: str, values: list[ast.expr]) -> ast.expr:
        """A call of one of torch's functions or methods, by its line in the table."""
        if name not in CALLS:
            raise Refused(node, f"torch's {name} is not in the table")
        return self.table(node, CALLS[name], values, name)

    def table(self, node: ast.Call, entry, values: list[ast.expr], name: str) -> ast.expr:
        """A call written by a line of the table."""
        given = [*values, *(keyword.value for keyword in node.keywords)]
        named = self._spread_keywords(node)
        arguments = Arguments(self, named, entry, values, name)
        if any(self._holds_complex(value) for value in given):
            return complex_call(self, arguments, name)
        if self.is_complex(node) and name not in ("polar", "view_as_complex"):
            return complex_made(arguments, name)
        return arguments.write()

    def _holds_complex(self, node: ast.expr) -> bool:
        if isinstance(node, (ast.List, ast.Tuple)):
            return any(self._holds_complex(part) for part in node.elts)
        fact = self.fact(node)
        return fact is not None and any(dtype.startswith("complex") for dtype in fact.dtypes)

    def _spread_keywords(self, node: ast.Call) -> ast.Call:
        # f(x, **kwargs), where the recorded keywords are known one by one.
        if all(keyword.arg is not None for keyword in node.keywords):
            return node
        keywords = []
        for keyword in node.keywords:
            keywords += [keyword] if keyword.arg is not None else self._keywords_of(node, keyword.value)
        return ast.copy_location(ast.Call(node.func, node.args, keywords), node)

    def _keywords_of(self, node: ast.Call, value: ast.expr) -> list[ast.keyword]:
        fact = self.fact(value)
        if fact is not None and fact.lengths == {0}:
            return []
        literal = self.spread_only.get(value.id) if isinstance(value, ast.Name) else None
        if literal is not None:
            return [ast.keyword(key.value, one) for key, one in zip(literal.keys, literal.values, strict=True)]
        parameter = self.parameters.get(value.id) if isinstance(value, ast.Name) else None
        if (
            isinstance(value, ast.Name)
            and (parameter is None or parameter.keep or self._is_rewritten(value.id, parameter))
            and fact is not None
            and len(fact.keys) == 1
        ):
            return [ast.keyword(key, self._of_dict(value, key)) for key in next(iter(fact.keys))]
        if parameter is None or value.id in self.stored and value.id not in self.gone:
            raise Refused(node, f"**{ast.unparse(value)}")
        passed_on = set(fact.items) if fact is not None else set()
        constants = {name: one for name, one in parameter.constants.items() if name in passed_on}
        found = [ast.keyword(name, ast.Constant(constant)) for name, constant in constants.items()]
        for name in (name for name in parameter.keys if name in passed_on):
            passed = ast.Name(name, ast.Load())
            passed.is_written = True
            passed.number = -1
            found.append(ast.keyword(name, passed))
        return found

    def _is_rewritten(self, name: str, parameter) -> bool:
        # A dict under a parameter's name: not the function's own **keywords.
        return name in self.stored and name not in self.gone and not parameter.keys and not parameter.constants

    def _of_dict(self, value: ast.Name, key: str) -> ast.expr:
        return _written(ast.Subscript(ast.Name(value.id, ast.Load()), ast.Constant(key), ast.Load()))

    # Python's own functions.

    def _python_call(self, node: ast.Call, name: str) -> ast.expr:
        facts = [self.fact(value) for value in node.args]
        arrays = [fact is not None and "tensor" in fact.kinds for fact in facts]
        if name == "len" and arrays[0]:
            return filled("x.shape[0]", {"x": self.expr(node.args[0])})
        if any(arrays) and name in ("int", "float", "bool", "max", "min", "sum", "abs", "round", "list", "tuple"):
            if name in ("max", "min") and len(node.args) == 1:
                raise Refused(node, f"Python's {name} over an array")
        return self._python(node, ast.Name(name, ast.Load()))

    def _python(self, node: ast.Call, function: ast.expr) -> ast.expr:
        keywords = [ast.keyword(keyword.arg, self.expr(keyword.value)) for keyword in node.keywords]
        return ast.Call(function, [self.expr(value) for value in node.args], keywords)

    # Layers and modules.

    def _inherited(self, node: ast.Call) -> ast.expr:
        """``super().forward(x)`` of a class that derives from one of torch's layers."""
        from torch import nn

        module = self.project.recording.instances[self.place[1]][0]
        layer = ast.parse("super().__call__", mode="eval").body
        if len(node.args) != 1 or node.keywords:
            raise Refused(node, "super() with more than one argument")
        x = self.expr(node.args[0])
        if isinstance(module, (nn.modules.conv._ConvNd, nn.GroupNorm)):
            return self.helper("channels_last", layer, x)
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
        if text.startswith("SHARED."):
            self.out.helpers.add(text[len("SHARED.") :].split("(")[0])
        return filled(text, {"x": x, "layer": layer})

    def _torch_module(self, node: ast.Call, modules: list) -> ast.expr:
        from torch import nn

        first = modules[0]
        if self.project.graph.targets(self.place, node) or isinstance(node.func, ast.Name):
            return self._recorded(node, self.fact(node.func))
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
        from mflux_port.draft.forward.table.odd import repeated

        factor, fact = module.scale_factor, self.fact(node.args[0])
        rank = fact.rank if fact is not None else rank
        if not str(module.mode).startswith("nearest") or rank is None or factor is None:
            raise Refused(node, f"Upsample with mode {module.mode}")
        factors = factor if isinstance(factor, tuple) else (factor,) * (rank - 2)
        if any(int(one) != one for one in factors):
            raise Refused(node, "Upsample by a factor that is not whole")
        return repeated(x, factors)

    def _padded(self, node: ast.Call, module) -> ast.expr:
        from torch import nn

        if isinstance(module, nn.ReplicationPad2d) or getattr(module, "value", 0):
            raise Refused(node, f"the layer {type(module).__name__}")
        widths = ast.parse(repr(tuple(module.padding)), mode="eval").body
        return self.helper("pad_last", self.expr(node.args[0]), widths)

    def _multi_head(self, node: ast.Call, module) -> ast.expr:
        ok = module.batch_first and module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
        given = {keyword.arg for keyword in node.keywords}
        masks = [k for k in node.keywords if k.arg in ("attn_mask", "key_padding_mask")]
        masked = any((fact := self.fact(k.value)) is None or not fact.always("none") for k in masks)
        if not ok or masked or len(node.args) != 3 or given - {"need_weights", "attn_mask", "key_padding_mask"}:
            raise Refused(node, "MultiheadAttention in a form that is not read")
        layer = self.expr(node.func)
        self.out.helpers.add("multi_head_attention")
        text = ("SHARED.multi_head_attention(q.swapaxes(0, 1), k.swapaxes(0, 1), v.swapaxes(0, 1), n, "
                "mx.split(layer.in_proj_weight, 3), layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias).swapaxes(0, 1)")  # fmt: skip
        values = dict(zip("qkv", (self.expr(value) for value in node.args), strict=True))
        out = filled(text, values | {"layer": layer, "n": ast.Constant(module.num_heads)})
        return ast.Tuple([out, ast.Constant(None)], ast.Load())

    def _sequence(self, node: ast.Call, modules: list) -> ast.expr:
        """A Sequential's layers, one in another."""
        shapes = {tuple(type(part).__name__ for part in module) for module in modules}
        if len(shapes) > 1 or len(node.args) != 1 or node.keywords:
            raise Refused(node, "Sequentials of several builds in one call")
        holder, value = self.expr(node.func), self.expr(node.args[0])
        fact = self.fact(node.args[0])
        self.rank = fact.rank if fact is not None else getattr(self, "rank", None)
        for place in range(len(modules[0])):
            value = self._part(node, [module[place] for module in modules], holder, place, value)
        return value

    def _part(self, node: ast.Call, parts: list, holder: ast.expr, place: int, value: ast.expr) -> ast.expr:
        from torch import nn

        here = ast.Subscript(holder, ast.Constant(place), ast.Load())
        inner = ast.copy_location(ast.Call(_written(here), [_written(value)], []), node)
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
            return self._torch_module_of(inner, parts)
        places = [self.project.graph.place(part, "") for part in parts]
        if None in places:
            raise Refused(node, f"the layer {type(parts[0]).__name__}")
        self.out.outside |= {target for target, _ in places}
        return inner

    def _torch_module_of(self, inner: ast.Call, parts: list) -> ast.expr:
        return self._torch_module(inner, parts)

    # Recorded functions.

    def _recorded(self, node: ast.Call, fact) -> ast.expr:
        targets = self.project.graph.targets(self.place, node)
        if isinstance(node.func, ast.Name) and node.func.id in self.elements:
            modules = self.elements[node.func.id][1]
            targets = [place for module in modules if (place := self.project.graph.place(module, self.place[1]))]
            targets = list(dict.fromkeys(target for target, _ in targets))
        if not targets:
            raise Refused(node, f"a call of {ast.unparse(node.func)} whose source was not recorded")
        if len({target[0].rsplit(".", 1)[-1] for target in targets}) > 1:
            raise Refused(node, "several functions in one call")
        target = targets[0]
        signatures = [self._signature_of(one) for one in targets]
        if any(one != signatures[0] for one in signatures):
            raise Refused(node, "functions of several signatures in one call")
        values, keywords = self._given(node, target)
        return ast.Call(self._callee(node, targets), values, keywords)

    def _signature_of(self, place) -> tuple:
        return tuple((name, one.keep, one.keys) for name, one in self.project.parameters(place).items())

    def _callee(self, node: ast.Call, targets: list) -> ast.expr:
        source = self.project.recording.sources[targets[0][0]]
        name, function = source.tree.name, node.func
        if is_processor(source):
            self.out.calls.append(targets[0])
            return ast.parse("self.attend", mode="eval").body
        if self._is_module_or_object(function):
            self.out.outside |= set(targets)
            self._read_child(function)
            return self.expr(function) if not isinstance(function, ast.Name) or function.id not in self.elements else \
                self.elements[function.id][0]  # fmt: skip
        holder = function.value if isinstance(function, ast.Attribute) else None
        own = holder is not None and isinstance(holder, ast.Name) and holder.id == self.owner
        if source.is_method and own:
            self.out.calls.append(targets[0])
            return ast.Attribute(ast.Name("self", ast.Load()), f"METHOD_{name}", ast.Load())
        if source.is_method and holder is not None and self._has_owner(holder):
            self.out.outside |= set(targets)
            name = "__call__" if name == "forward" else name
            return self.expr(holder) if name == "__call__" else ast.Attribute(self.expr(holder), name, ast.Load())
        if not source.is_method:
            self.out.calls.append(targets[0])
            return ast.Name(f"FUNCTION_{name}", ast.Load())
        raise Refused(node, f"a call of {ast.unparse(function)}")

    def _is_module_or_object(self, node: ast.expr) -> bool:
        fact = self.fact(node)
        if isinstance(node, ast.Name) and node.id in self.elements:
            return True
        return fact is not None and bool(fact.kinds) and fact.kinds <= {"module", "object"}

    def _has_owner(self, node: ast.expr) -> bool:
        return bool(self.owners(node))

    def _read_child(self, node: ast.expr) -> None:
        if isinstance(node, ast.Attribute):
            self.out.reads |= {(group, node.attr) for group in self.owners(node.value)}

    def _given(self, node: ast.Call, target) -> tuple[list, list]:
        """Every argument that the written function takes, positions as in the reference, the rest by name."""
        from mflux_port.draft.forward.record.callgraph import Site

        source = self.project.recording.sources[target[0]]
        parameters = self.project.parameters(target)
        node = self._spread_keywords(node)
        if any(isinstance(value, ast.Starred) for value in node.args):
            return self._given_starred(node, source, parameters)
        site = Site(self.place, node, int(is_processor(source)))
        values, keywords, seen = [], [], set()
        skip = 2 if is_processor(source) else int(source.is_method)
        by_name = {keyword.arg for keyword in node.keywords}
        for number, arg in enumerate(source.parameters):
            parameter = parameters.get(arg.arg)
            if number < skip or parameter is None or not parameter.keep:
                continue
            seen.add(arg.arg)
            value = argument(site, source, number)
            if value is None and (default := source.defaults.get(arg.arg)) is not None:
                keywords.append(ast.keyword(arg.arg, self._default_value(node, default)))
            elif value is None or value is ...:
                raise Refused(node, f"a call that does not give {arg.arg}")
            elif arg.arg in by_name or keywords:
                keywords.append(ast.keyword(arg.arg, self.expr(value)))
            else:
                values.append(self.expr(value))
        for parameter in parameters.values():
            for key in parameter.keys:
                if key not in seen:
                    value = next((one.value for one in node.keywords if one.arg == key), ast.Constant(None))
                    keywords.append(ast.keyword(key, self.expr(value)))
        return values, keywords

    def _given_starred(self, node: ast.Call, source, parameters) -> tuple[list, list]:
        if any(not parameter.keep for parameter in parameters.values()):
            raise Refused(node, "a call with * of a function that does not take all")
        return [self.expr(value) for value in node.args], [
            ast.keyword(one.arg, self.expr(one.value)) for one in node.keywords
        ]

    def _default_value(self, node: ast.Call, default: ast.expr) -> ast.expr:
        text = ast.unparse(default)
        if isinstance(default, ast.Constant):
            return ast.Constant(default.value)
        if re.fullmatch(r"torch\.\w+", text):
            return self.dtype(default)
        try:
            return ast.parse(repr(ast.literal_eval(text)), mode="eval").body
        except ValueError:
            raise Refused(node, f"the default {text}") from None


def _written(node: ast.expr) -> ast.expr:
    node.is_written, node.number = True, -1
    return node


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def function_name(function) -> str:
    return key_of(function).rsplit(".", 1)[-1]
