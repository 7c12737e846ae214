"""Expressions of the reference in MLX, except calls."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.record.facts import MANY
from mflux_port.draft.forward.record.provenance import owner_groups
from mflux_port.draft.forward.record.sources import undecorated
from mflux_port.draft.forward.torch_calls.entry import Refused, filled

_PLAIN = ("shape", "dtype", "ndim", "T", "real", "imag")
_CONSTANTS = {"torch.pi": "mx.pi", "math.pi": "mx.pi", "np.pi": "mx.pi", "torch.inf": "mx.inf", "math.inf": "mx.inf",
              "np.inf": "mx.inf"}  # fmt: skip


class Expressions:
    """The part of the writer that writes expressions."""

    def expr(self, node: ast.expr) -> ast.expr:
        """An expression in MLX. Refuses what it does not know."""
        if getattr(node, "is_written", False):
            return node
        fact = self.fact(node)
        if fact is not None and fact.always("none") and not isinstance(node, (ast.Constant, ast.Call)):
            if self.from_config(node):
                return ast.Constant(None)
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise Refused(node, f"an expression of the kind {type(node).__name__}")
        return method(node)

    def owners(self, node: ast.expr) -> set[str]:
        """The groups of the modules and objects that an expression evaluated to."""
        fact = self.fact(node)
        return owner_groups(fact) if fact is not None and fact.kinds & {"module", "object"} else set()

    def _Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Constant(node.value)

    def _Name(self, node: ast.Name) -> ast.expr:
        if node.id == self.owner:
            return ast.Name("self", ast.Load())
        if node.id in self.elements:
            return self.elements[node.id][0]
        if node.id in self.left_out or node.id in self.functions:
            raise Refused(node, f"{node.id} as a value: a function, or what a signature says")
        parameter = self.parameters.get(node.id)
        dropped = parameter is not None and not parameter.keep and node.id not in self.inner
        if dropped and node.id not in self.stored:
            if parameter.keys or parameter.constants:
                raise Refused(node, f"**{node.id} as a whole")
            if isinstance(parameter.value, (bool, str, int, float, type(None))):
                return ast.Constant(parameter.value)
            return ast.Dict([], []) if parameter.value == {} else ast.Tuple([], ast.Load())
        fact = self.fact(node)
        if fact is not None and fact.always("dtype"):
            return self.dtype(node)
        if self._is_global(node.id):
            return self._global(node, fact)
        return ast.Name(node.id, ast.Load())

    def _is_global(self, name: str) -> bool:
        code = undecorated(self.source.function).__code__
        local = name in code.co_varnames or name in code.co_cellvars or name in self.stored or name in self.inner
        return not local and name in self.source.function.__globals__

    def _global(self, node: ast.Name, fact) -> ast.expr:
        value = self.source.function.__globals__[node.id]
        if isinstance(value, (int, float, str, bool, type(None), tuple, list)):
            return ast.parse(repr(value), mode="eval").body
        raise Refused(node, f"the name {node.id}")

    def _Attribute(self, node: ast.Attribute) -> ast.expr:
        text = ast.unparse(node)
        if text in _CONSTANTS:
            return filled(_CONSTANTS[text], {})
        fact, inner = self.fact(node), self.fact(node.value)
        if fact is not None and fact.always("dtype"):
            return self.parameters_dtype(node) or self.dtype(node)
        if inner is not None and "tensor" in inner.kinds:
            return self._of_array(node)
        if self._is_config(node.value) and not self._is_processor_value(node):
            return self.of_config(node)
        if node.attr in ("values", "indices") and inner is not None and inner.always("tuple"):
            return self._of_pair(node)
        if inner is not None and inner.always("dict") and len(inner.keys) == 1:
            return self._of_output(node, inner)
        if self._is_processor_value(node):
            return ast.Constant(self.known(node, node))
        return self._of_module(node)

    def _of_array(self, node: ast.Attribute) -> ast.expr:
        x = self.expr(node.value)
        if node.attr in ("real", "imag"):
            if not self.is_complex(node.value):
                raise Refused(node, f"{node.attr} of real numbers")
            return filled("x[..., i]", {"x": x, "i": ast.Constant(int(node.attr == "imag"))})
        if node.attr == "mT":
            return filled("x.swapaxes(-1, -2)", {"x": x})
        if node.attr == "data":
            return x
        if node.attr == "shape" and self.is_complex(node.value):
            return filled("x.shape[:-1]", {"x": x})
        if node.attr not in _PLAIN or node.attr in ("ndim", "T") and self.is_complex(node.value):
            raise Refused(node, f"an array's {node.attr}")
        return ast.Attribute(x, node.attr, ast.Load())

    def _of_pair(self, node: ast.Attribute) -> ast.expr:
        # The fields of what torch.max and torch.topk return.
        inner, place = self.expr(node.value), int(node.attr == "indices")
        if isinstance(inner, ast.Tuple):
            return inner.elts[place]
        return ast.Subscript(inner, ast.Constant(place), ast.Load())

    def _is_only_output(self, node: ast.Subscript, fact) -> bool:
        # Indexing an output object with a single part that is not None: in the port, this is that part itself.
        if fact is None or not fact.always("dict") or len(fact.keys) != 1 or ast.unparse(node.slice) != "0":
            return False
        return 0 not in next(iter(fact.keys)) and len(self._output_keys(fact)) == 1

    def _output_keys(self, fact) -> list[str]:
        return [key for key in next(iter(fact.keys)) if not fact.items[key].always("none")]

    def _of_output(self, node: ast.Attribute, inner) -> ast.expr:
        keys = self._output_keys(inner)
        if node.attr not in keys:
            raise Refused(node, f"{node.attr} of an output that has {', '.join(keys)}")
        value = self.expr(node.value)
        return value if len(keys) == 1 else ast.Subscript(value, ast.Constant(keys.index(node.attr)), ast.Load())

    def _is_processor_value(self, node: ast.Attribute) -> bool:
        return self.is_processor and isinstance(node.value, ast.Name) and node.value.id == "self"

    def _is_config(self, node: ast.expr) -> bool:
        fact = self.fact(node)
        return (
            fact is not None
            and bool(fact.kinds & {"object", "dict"})
            and (
                isinstance(node, ast.Attribute)
                and node.attr == "config"
                or isinstance(node, ast.Name)
                and node.id == "config"
            )
        )

    def of_config(self, node: ast.Attribute) -> ast.expr:
        """``self.config.x``, which is an attribute x of the port's module."""
        if isinstance(node.value, ast.Name) and node.value.id in getattr(self, "arguments", ()):
            self.out.reads.add((self.group, node.attr))
            return ast.Attribute(ast.Name("self", ast.Load()), node.attr, ast.Load())
        if not (isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name)):
            raise Refused(node, "a config that is not the module's own")
        if node.value.value.id != self.owner:
            raise Refused(node, "another module's config")
        self.out.reads |= {(group, node.attr) for group in self.owners(node.value.value)}
        return ast.Attribute(ast.Name("self", ast.Load()), node.attr, ast.Load())

    def _of_module(self, node: ast.Attribute) -> ast.expr:
        owners = self.owners(node.value)
        if not owners:
            raise Refused(node, f"{ast.unparse(node)}, which is in no recorded run" if self.fact(node.value) is None else
                          f"{node.attr} of a value of this kind")  # fmt: skip
        fact = self.fact(node)
        if fact is not None and fact.always("function"):
            raise Refused(node, f"the method {node.attr} as a value")
        self.out.reads |= {(group, node.attr) for group in owners}
        name = self._table_name(node)
        return self._whole_gamma(node, ast.Attribute(self.expr(node.value), name, ast.Load()))

    def _table_name(self, node: ast.Attribute) -> str:
        """An attribute's name in the port, which differs for arrays that no checkpoint holds."""
        from torch import nn

        from mflux_port.draft.forward.record.init_arrays import tables
        from mflux_port.draft.forward.writer.names import table_name

        owners = [one for one in self.fact(node.value).objects.values() if isinstance(one, nn.Module)]
        made = {node.attr in tables(one) for one in owners}
        if made == {True}:
            self.out.tables |= {(group, node.attr) for group in self.owners(node.value)}
            return table_name(node.attr)
        return node.attr

    def _whole_gamma(self, node: ast.Attribute, written: ast.expr) -> ast.expr:
        # A factor per channel, which is flat in the port, gets its axes of length 1 back.
        from mflux_port.draft.write.targets import is_gamma

        fact = self.fact(node)
        shapes = fact.shapes if fact is not None and fact.always("tensor") else set()
        if len(shapes) == 1 and is_gamma(node.attr, tuple(1 if size == 1 else 2 for size in next(iter(shapes)))):
            ones = ", ".join("1" for _ in next(iter(shapes))[1:])
            return filled(f"x.reshape(-1, {ones})", {"x": written}) if ones else written
        return written

    def _Subscript(self, node: ast.Subscript) -> ast.expr:
        fact = self.fact(node.value)
        if fact is not None and "tensor" in fact.kinds:
            return self._indexed(node)
        if fact is not None and fact.always("dict") and self._is_config(node.value):
            raise Refused(node, "a config by key")
        if self._is_only_output(node, fact):
            return self.expr(node.value)
        return ast.Subscript(self.expr(node.value), self.index(node.slice), ast.Load())

    def _indexed(self, node: ast.Subscript) -> ast.expr:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        facts = [self.fact(part) for part in parts]
        masks = [fact is not None and "tensor" in fact.kinds and "bool" in fact.dtypes for fact in facts]
        x, index = self.expr(node.value), self.index(node.slice)
        if masks == [True]:
            return ast.Subscript(x, index, ast.Load())
        whole = [isinstance(part, ast.Constant) and part.value is Ellipsis for part in parts]
        if self.is_complex(node.value) and any(whole):
            index.elts.append(ast.Slice())
        return ast.Subscript(x, index, ast.Load())

    def index(self, node: ast.expr) -> ast.expr:
        """The expression between the brackets."""
        if isinstance(node, ast.Slice):
            return ast.Slice(
                *(None if part is None else self.expr(part) for part in (node.lower, node.upper, node.step))
            )
        if isinstance(node, ast.Tuple):
            parts = []
            for part in node.elts:
                written = self.index(part)
                parts.append(ast.Starred(written, ast.Load()) if self._is_mask(part) else written)
            return ast.Tuple(parts, ast.Load())
        return self.helper("nonzero_places", self.expr(node)) if self._is_mask(node) else self.expr(node)

    def _is_mask(self, node: ast.expr) -> bool:
        # MLX does not take booleans as indices: use their positions, one array per axis of the mask.
        fact = self.fact(node)
        return fact is not None and "tensor" in fact.kinds and "bool" in fact.dtypes

    def _Slice(self, node: ast.Slice) -> ast.expr:
        return self.index(node)

    def _Tuple(self, node: ast.Tuple) -> ast.expr:
        return ast.Tuple([self.expr(part) for part in node.elts], ast.Load())

    def _List(self, node: ast.List) -> ast.expr:
        return ast.List([self.expr(part) for part in node.elts], ast.Load())

    def _Set(self, node: ast.Set) -> ast.expr:
        return ast.Set([self.expr(part) for part in node.elts])

    def _Dict(self, node: ast.Dict) -> ast.expr:
        if any(key is None for key in node.keys):
            raise Refused(node, "a dict with **")
        return ast.Dict([self.expr(key) for key in node.keys], [self.expr(value) for value in node.values])

    def _Starred(self, node: ast.Starred) -> ast.expr:
        return ast.Starred(self.expr(node.value), ast.Load())

    def _BinOp(self, node: ast.BinOp) -> ast.expr:
        if self._is_neutral(node.right) and self._keeps(node, node.left):
            return self.expr(node.left)
        left, right = self.expr(node.left), self.expr(node.right)
        complex_ = self.is_complex(node.left), self.is_complex(node.right)
        if not any(complex_):
            return left if self._changes_nothing(node, right) else ast.BinOp(left, node.op, right)
        if all(complex_) and isinstance(node.op, ast.Mult):
            return self.helper("multiply_complex", left, right)
        if all(complex_) and isinstance(node.op, (ast.Add, ast.Sub)):
            return ast.BinOp(left, node.op, right)
        raise Refused(node, "arithmetic of complex and real numbers")

    def _is_neutral(self, node: ast.expr) -> bool:
        """Whether an expression is an attribute of modules that is 1 in the twin and in the real model."""
        fact = self.fact(node) if isinstance(node, ast.Attribute) else None
        is_number = fact is not None and fact.always("int", "float") and self.from_config(node)
        return is_number and bool(self.owners(node.value)) and self._is_one_everywhere(node)

    def _is_one_everywhere(self, node: ast.Attribute) -> bool:
        # This includes modules that the recorded runs did not reach.
        groups, modules = self.owners(node.value), self.project.recording.root.modules()
        values = [getattr(one, node.attr, None) for one in modules if self.project_group(one) in groups]
        return bool(values) and all(type(value) in (int, float) and value == 1 for value in values)

    def _changes_nothing(self, node: ast.BinOp, right: ast.expr) -> bool:
        # A factor of 1 that the config folded.
        is_one = isinstance(right, ast.Constant) and right.value == 1.0 and not isinstance(node.right, ast.Constant)
        return is_one and self._keeps(node, node.left)

    def _keeps(self, node: ast.BinOp, left: ast.expr) -> bool:
        """Whether an operation with a right side of 1 returns its left side, in value and type."""
        fact, one = self.fact(left), self.fact(node.right)
        if fact is None or one is None or not isinstance(node.op, (ast.Mult, ast.Div, ast.FloorDiv)):
            return False
        whole = fact.always("int") and one.always("int") and not isinstance(node.op, ast.Div)
        floats = fact.always("tensor") and all(dtype.startswith(("float", "bfloat")) for dtype in fact.dtypes)
        return whole or not isinstance(node.op, ast.FloorDiv) and (floats or fact.always("float"))

    def _UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        fact = self.fact(node.operand)
        if isinstance(node.op, ast.Invert) and fact is not None and "tensor" in fact.kinds:
            return filled("mx.logical_not(x)", {"x": self.expr(node.operand)})
        return ast.UnaryOp(node.op, self.expr(node.operand))

    def _Compare(self, node: ast.Compare) -> ast.expr:
        verdict = self.truth(node)
        if verdict is not None:
            return ast.Constant(verdict)
        return ast.Compare(self.expr(node.left), node.ops, [self.expr(one) for one in node.comparators])

    def _JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts = [
            ast.FormattedValue(self.expr(part.value), part.conversion, part.format_spec)
            if isinstance(part, ast.FormattedValue)
            else part
            for part in node.values
        ]
        return ast.JoinedStr(parts)

    def _comprehension(self, node, build) -> ast.expr:
        generators = []
        for one in node.generators:
            fact = self.fact(one.iter)
            if fact is not None and fact.lengths == {0} and not self.from_config(one.iter):
                raise Refused(node, "a loop that no recorded run entered")
            tests = [self.expr(test) for test in one.ifs]
            generators.append(ast.comprehension(self.store(one.target), self.expr(one.iter), tests, 0))
        return build(generators)

    def _ListComp(self, node: ast.ListComp) -> ast.expr:
        return self._comprehension(node, lambda found: ast.ListComp(self.expr(node.elt), found))

    def _GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        return self._comprehension(node, lambda found: ast.GeneratorExp(self.expr(node.elt), found))

    def _SetComp(self, node: ast.SetComp) -> ast.expr:
        return self._comprehension(node, lambda found: ast.SetComp(self.expr(node.elt), found))

    def _DictComp(self, node: ast.DictComp) -> ast.expr:
        pair = lambda found: ast.DictComp(self.expr(node.key), self.expr(node.value), found)  # noqa: E731
        return self._comprehension(node, pair)

    def _Lambda(self, node: ast.Lambda) -> ast.expr:
        self.inner |= {arg.arg for arg in node.args.args}
        args = ast.arguments([], [ast.arg(arg.arg) for arg in node.args.args], None, [], [], None, [])
        return ast.Lambda(args, self.expr(node.body))

    def _NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        return ast.NamedExpr(ast.Name(node.target.id, ast.Store()), self.expr(node.value))

    def constant(self, node: ast.expr) -> ast.expr | None:
        """An expression's value as source where the config decides it and it is a scalar, else None."""
        value = self.value(node)
        plain = value is not MANY and isinstance(value, (bool, str, type(None)))
        return ast.Constant(value) if plain and self.from_config(node) else None
