"""Debugging code, and code that is not written yet."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package

_SAVES = ("mx.save", "mx.savez", "mx.save_safetensors", "np.save", "np.savez", "torch.save", "save_file")
_LOADS = ("mx.load", "np.load", "torch.load", "load_file")
_STOPS = ("breakpoint", "set_trace")


def debugging_calls(file: str, nodes: list[ast.AST]) -> list[ast.Call]:
    """The calls of a file that stop in a debugger, or save or load tensors."""
    return [*syntax.calls(nodes, *_STOPS), *_saved(nodes), *_loaded(file, nodes)]


def unwritten_lines(package: Package, file: str) -> list[int]:
    """Lines that raise NotImplementedError: all of them in a port in progress (the draft writes them), only bare ones
    in a merged port.
    """
    nodes = package.facts.nodes(file)
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    abstract = [node for node in functions if "abstractmethod" in map(syntax.dotted, node.decorator_list)]
    intended = {inner for node in abstract for inner in syntax.walk(node)}
    raised = [node.exc for node in nodes if isinstance(node, ast.Raise) and node.exc and node not in intended]
    in_progress = reasons.is_open(package) is None
    bare = [node for node in raised if syntax.dotted(node) == "NotImplementedError"]
    calls = [call for call in syntax.calls(raised, "NotImplementedError") if in_progress or not call.args]
    return sorted(node.lineno for node in [*bare, *calls])


def _saved(nodes: list[ast.AST]) -> list[ast.Call]:
    # A training adapter may save tensors: it must save what it trained.
    return _outside(nodes, "save_lora_adapter", syntax.calls(nodes, *_SAVES))


def _loaded(file: str, nodes: list[ast.AST]) -> list[ast.Call]:
    # Real code loads weights from a computed path; a literal path, or loading while generating, is debug code.
    generating = any(f"/{folder}/" in file for folder in ("variants", "latent_creator", "cli", "training_adapter"))
    calls = _outside(nodes, "load_lora_adapter", syntax.calls(nodes, *_LOADS))
    return [call for call in calls if generating or not call.args or _is_text(call.args[0])]


def _outside(nodes: list[ast.AST], method: str, calls: list[ast.Call]) -> list[ast.Call]:
    inside = {inner for node in nodes if getattr(node, "name", "") == method for inner in syntax.walk(node)}
    return [call for call in calls if call not in inside]


def _is_text(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name | ast.Attribute) for part in syntax.walk(node))
