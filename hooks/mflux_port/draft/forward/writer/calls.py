"""Calls: of torch's functions by the table, of layers, of other recorded functions and modules."""

from __future__ import annotations

import ast
import builtins
import re

from mflux_port.draft.forward.record.facts import MANY
from mflux_port.draft.forward.torch_calls.entry import Arguments, Refused, filled
from mflux_port.draft.forward.torch_calls.table import CALLS, LIBRARY_CALLS
from mflux_port.draft.forward.writer.complex_calls import complex_call, complex_made

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
# Functions of torch whose result may be a view, which shares its elements with its source.
_VIEWS = (
    r"(?:as_strided|as_tensor|asarray|atleast_\w+|broadcast_\w+|chunk|detach|diagonal|\w?split|tensor_split|expand\w*|"
    r"flatten|unflatten|from_numpy|imag|real|movedim|moveaxis|narrow|permute|ravel|reshape|select|swap\w+|t|transpose|"
    r"unbind|squeeze|unsqueeze|view\w*)"
)
_NEW = re.compile(rf"torch\.(?!{_VIEWS}$)\w+|.*\.(new_\w+|clone|\w+_like)", re.DOTALL)


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
            return self._recorded(node)
        if isinstance(function, ast.Attribute):
            return self._attribute_call(node, fact)
        return self._plain_call(node, fact)

    def _library_name(self, fact) -> str:
        names = {getattr(value, "__name__", "") for value in fact.objects.values()}
        return names.pop() if len(names) == 1 else ""

    # Properties of Python values.

    def _asked(self, node: ast.Call, name: str) -> ast.expr:
        value = self.value(node)
        if value is not MANY and isinstance(value, (bool, str, type(None))) and self.from_config(node):
            return ast.Constant(value)
        if name == "getattr" and (attribute := self._decided_text(node.args[1])):
            fact = self.fact(node)
            if fact is not None and fact.kinds & {"module", "modulelist", "int", "float", "tensor"}:
                return self._of_module(ast.Attribute(node.args[0], attribute, ast.Load()))
        if name == "getattr" and (names := self._attributes(node)):
            # One of several attributes, selected by a name that the data decides.
            values = [self._of_module(ast.Attribute(node.args[0], one, ast.Load())) for one in names]
            choices = ast.Dict([ast.Constant(one) for one in names], values)
            return ast.Subscript(choices, self.expr(node.args[1]), ast.Load())
        if name == "isinstance":
            kinds = ast.unparse(node.args[1]).replace("torch.Tensor", "mx.array")
            if re.fullmatch(r"\(?((mx\.array|int|float|list|tuple|dict|str|bool)(, )?)+\)?", kinds):
                return filled(
                    "isinstance(x, k)", {"x": self.expr(node.args[0]), "k": ast.parse(kinds, mode="eval").body}
                )
        raise Refused(node, f"{ast.unparse(node)}, which depends on the data")

    def _attributes(self, node: ast.Call) -> list[str]:
        """The attributes that a ``getattr`` without a default read in the recorded runs; none if they are not all
        known.
        """
        fact = self.fact(node.args[1]) if len(node.args) == 2 else None
        if fact is None or not fact.always("str") or fact.many or not self.owners(node.args[0]):
            return []
        return sorted(value for _, value in fact.values)

    def _decided_text(self, node: ast.expr) -> str:
        """The string that an expression evaluates to in every model of this config; empty if it may differ."""
        value = node.value if isinstance(node, ast.Constant) else self.value(node)
        return value if isinstance(value, str) and self.from_config(node) else ""

    # torch's functions and methods.

    def _attribute_call(self, node: ast.Call, fact) -> ast.expr:
        function = node.func
        text, name = ast.unparse(function), function.attr
        receiver = self.fact(function.value)
        if (*self.place, getattr(node, "number", -1)) in self.project.recording.idle_casts and not self._is_given(node):
            return self.expr(function.value)
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
        raise Refused(node, f"a call of {text}" + (", which is in no recorded run" if fact is None else ""))

    def _is_given(self, node: ast.Call) -> bool:
        # A port's inputs may differ in type from those of the recorded runs.
        receiver = node.func.value
        return self.project.is_entry(self.place) and isinstance(receiver, ast.Name) and receiver.id in self.parameters

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
        raise Refused(
            node, f"a call of {ast.unparse(function)}" + (", which is in no recorded run" if fact is None else "")
        )

    def _made(self, node: ast.Call, fact) -> ast.expr:
        names = {value.__name__ for value in fact.objects.values()}
        if names == {"DiagonalGaussianDistribution"}:
            # A port takes the distribution's mode: the mean, one of the two halves that the encoder returns.
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
        if name.removesuffix("_") in CALLS and self._is_new_array(node):
            name = name.removesuffix("_")
        if name not in CALLS:
            raise Refused(node, f"torch's {name} is not in the table")
        return self.table(node, CALLS[name], values, name)

    def _is_new_array(self, node: ast.Call) -> bool:
        # torch.zeros(2).add_(x): nothing else refers to the array that changes in place.
        receiver = getattr(node.func, "value", None)
        return (
            isinstance(receiver, ast.Call)
            and not _last(receiver.func).endswith("_")
            and bool(_NEW.fullmatch(ast.unparse(receiver.func)))
        )

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
        return ast.Call(function, [self.read_one_by_one(value) for value in node.args], keywords)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
