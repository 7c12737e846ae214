"""``if``/``elif`` chains in mflux's source: put a branch first, or before another."""

from __future__ import annotations

import ast

from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape


def branches(first: ast.If) -> list[ast.If]:
    """All branches of a chain, in order (without the ``else``)."""
    chain = [first]
    while len(chain[-1].orelse) == 1 and isinstance(chain[-1].orelse[0], ast.If):
        chain.append(chain[-1].orelse[0])
    return chain


def find_chain(source: Source, body: list[ast.stmt], assigned: str, what: str) -> list[ast.If]:
    """The one chain in ``body`` whose every branch assigns ``assigned``. Raises UnknownShape otherwise."""
    chains = [branches(node) for node in body if isinstance(node, ast.If)]
    fitting = [chain for chain in chains if all(assigned_name(branch, assigned) for branch in chain)]
    if len(fitting) != 1:
        raise UnknownShape(
            f"{source.path}: looked for one if/elif chain that chooses {what}, found {len(fitting)}; "
            "wire the port there by hand"
        )
    return fitting[0]


def assigned_name(branch: ast.If, target: str) -> str | None:
    """What a branch assigns to ``target``: the name, or the name of the class that is called."""
    for statement in branch.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(node, ast.Name) and node.id == target for node in statement.targets
        ):
            value = statement.value.func if isinstance(statement.value, ast.Call) else statement.value
            return value.id if isinstance(value, ast.Name) else "an expression"
    return None


def first_branch_block(
    source: Source, chain: list[ast.If], name: str, condition: str, body: str, index: int | None
) -> Block:
    """A branch that goes first; ``index`` is where it stands now in the chain.

    The text ends in ``el``, so that the ``if`` behind it becomes an ``elif``.
    """
    lead = source.lead(chain[0])
    text = f"if {condition}:\n{body}{lead}el"
    if index is None:
        return Block(name, text, _keyword(source, chain[0]))
    if index + 1 >= len(chain):
        raise UnknownShape(
            f"{source.path} line {chain[index].lineno}: the branch of {name} is the last one; move it up"
        )
    return Block(name, text, 0, (_keyword(source, chain[index]), _keyword(source, chain[index + 1])))


def second_branch_block(
    source: Source, chain: list[ast.If], name: str, condition: str, body: str, index: int | None
) -> Block:
    """A branch that goes behind the first one, so that nothing but lines is added."""
    text = f"elif {condition}:\n{body}{source.lead(chain[0])}"
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
    # Where the letters `if` stand, also in an `elif`.
    start = source.start(branch)
    return start + 2 if source.data[start : start + 4] == b"elif" else start
