"""Loops over a transformer's blocks that the reference can checkpoint: the port can too, as mflux's own models do."""

from __future__ import annotations

import ast

FLAG = "gradient_checkpointing"


def is_checkpointed(loop: ast.For) -> bool:
    """Whether a loop of the reference uses gradient checkpointing."""
    return any(isinstance(node, ast.Attribute) and node.attr == FLAG for node in ast.walk(loop))


def checkpointed(loop: ast.For, is_first: bool) -> list[ast.stmt]:
    """A written loop with its block behind ``run``. ``is_first``: the flag was not read in this method yet."""
    names = {node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)}
    called = {node.func.id for node in ast.walk(loop) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    blocks = names & called
    if len(blocks) != 1 or "run" in {node.id for node in ast.walk(loop) if isinstance(node, ast.Name)}:
        return [loop]
    block = blocks.pop()
    for node in ast.walk(loop):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == block:
            node.func = ast.Name("run", ast.Load())
    loop.body[0].is_spaced = False
    loop.body.insert(0, ast.parse(f"run = nn.utils.checkpoint({block}) if {FLAG} else {block}").body[0])
    flag = ast.parse(f'{FLAG} = getattr(self, "{FLAG}", False)').body[0]
    return [flag, loop] if is_first else [loop]
