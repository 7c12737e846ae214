"""The forward pass of a module that only adds a prefix: checkpoints of older releases store a whole model below one
name.
"""

from __future__ import annotations

import ast

from mflux_port.draft.forward.writer.classes import Forward, Method
from mflux_port.draft.tree.nodes import MODULE, Node


def hand_down(tree: Node) -> None:
    """Make the modules above the first one with a forward pass call it, if each of them holds nothing else."""
    if tree.forward is not None or tree.group or tree.kind != MODULE or len(tree.children) != 1 or tree.parameters:
        return
    ((name, child),) = tree.children.items()
    hand_down(child)
    if isinstance(child.forward, Forward) and child.forward.is_verified:
        tree.forward = _calling(child.forward, name)


def _calling(inner: Forward, name: str) -> Forward:
    methods = [method for method in inner.methods if not method.is_static and method.name in _public(inner)]
    made = [Method(method.name, _call(method, name), False) for method in methods]
    return Forward(group="", methods=made, where=inner.where, state=inner.state)


def _public(forward: Forward) -> list[str]:
    return [one.name for one in forward.methods if one.name == "__call__" or not one.name.startswith("_")]


def _call(method: Method, name: str) -> str:
    function = ast.parse(method.text).body[0]
    parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)][1:]
    given = [f"{one}={one}" for one in (*parameters, *(argument.arg for argument in function.args.kwonlyargs))]
    called = f"self.{name}" if method.name == "__call__" else f"self.{name}.{method.name}"
    function.body = ast.parse(f"return {called}({', '.join(given)})").body
    return ast.unparse(function)
