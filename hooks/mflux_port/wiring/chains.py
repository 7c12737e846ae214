"""``if``/``elif`` chains in mflux's source: insert a branch as the first or as the second one."""

from __future__ import annotations

import ast

from mflux_port.wiring.block import Block, Span
from mflux_port.wiring.source import Source, UnknownShape


def branches(first: ast.If) -> list[ast.If]:
    """All branches of a chain, in order (without the ``else``)."""
    chain = [first]
    while len(chain[-1].orelse) == 1 and isinstance(chain[-1].orelse[0], ast.If):
        chain.append(chain[-1].orelse[0])
    return chain


def find_chain(source: Source, functions: list[ast.FunctionDef], assigned: str, what: str) -> list[ast.If]:
    """The only chain in ``functions`` in which every branch assigns ``assigned``. Raises UnknownShape otherwise."""
    chains = [branches(node) for function in functions for node in function.body if isinstance(node, ast.If)]
    fitting = [chain for chain in chains if all(assigned_name(branch, assigned) for branch in chain)]
    if len(fitting) != 1:
        raise UnknownShape(
            f"{source.path}: looked for one if/elif chain that chooses {what}, found {len(fitting)}; "
            "wire the port there by hand"
        )
    return fitting[0]


def assigned_name(branch: ast.If, target: str) -> str | None:
    """The name that a branch assigns to ``target``, or the name of the class that it calls for it."""
    for statement in branch.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(node, ast.Name) and node.id == target for node in statement.targets
        ):
            value = statement.value.func if isinstance(statement.value, ast.Call) else statement.value
            return value.id if isinstance(value, ast.Name) else "an expression"
    return None


def listed_names(branch: ast.If) -> set[str] | None:
    """The keys that a branch compares ``….aliases[0]`` with, as wiring's branches do; None for any other test."""
    test = branch.test
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.left, ast.Subscript)):
        return None
    if getattr(test.left.value, "attr", "") != "aliases":
        return None
    right = test.comparators[0]
    listed = right.elts if isinstance(right, ast.Set) else [right]
    return {node.value for node in listed if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def branch_listing(source: Source, chain: list[ast.If], keys: set[str]) -> Span | None:
    """The span of a branch that compares with one of ``keys``."""
    found = next((branch for branch in chain if keys & (listed_names(branch) or set())), None)
    return (source.start(found), source.end(found)) if found else None


def branch_index(chain: list[ast.If], target: str, name: str) -> int | None:
    """The index of the branch that assigns ``name`` to ``target``."""
    return next((index for index, branch in enumerate(chain) if assigned_name(branch, target) == name), None)


def first_branch_block(source: Source, chain: list[ast.If], name: str, branch: str, index: int | None) -> Block:
    """A branch in the first place; ``index`` is its current position in the chain.

    The text ends in ``el``, so that the ``if`` after it becomes an ``elif``.
    """
    text = f"{branch.lstrip()}{source.lead(chain[0])}el"
    if index is None:
        return Block(name, text, _keyword(source, chain[0]))
    if index + 1 >= len(chain):
        raise UnknownShape(
            f"{source.path} line {chain[index].lineno}: the branch of {name} is the last one; move it up"
        )
    return Block(name, text, 0, (_keyword(source, chain[index]), _keyword(source, chain[index + 1])))


def second_branch_block(source: Source, chain: list[ast.If], name: str, branch: str, index: int | None) -> Block:
    """A branch in the second place, so that the change only adds lines."""
    text = f"{branch.lstrip()}{source.lead(chain[0])}"
    if len(chain) < 2:
        raise UnknownShape(
            f"{source.path} line {chain[0].lineno}: the chain has one branch only; wire the port there by hand"
        )
    if index is None:
        return Block(name, text, source.start(chain[1]))
    if index == 0 or index + 1 >= len(chain):
        raise UnknownShape(f"{source.path} line {chain[index].lineno}: the branch of {name} is first or last; move it")
    return Block(name, text, 0, (source.start(chain[index]), source.start(chain[index + 1])))


def _keyword(source: Source, branch: ast.If) -> int:
    # The offset of the letters `if`, also in an `elif`.
    start = source.start(branch)
    return start + 2 if source.data[start : start + 4] == b"elif" else start
