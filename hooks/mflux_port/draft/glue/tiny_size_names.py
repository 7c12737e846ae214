"""The sizes that a port's fast tests use: whether the drafted transformer takes the same names."""

from __future__ import annotations

import ast

from mflux_port.checkout.tree import Checkout
from mflux_port.draft.glue.signature import constructor_arguments
from mflux_port.files.parsing import parse_python
from mflux_port.port.port import Port

TINY_SIZES = "tests/image_generation/helpers/tiny_{model}_sizes.py"


def other_names(checkout: Checkout, port: Port, texts: dict[str, str]) -> dict:
    """``file``, the names it ``says`` and those the constructor ``takes`` instead; empty when they agree.

    ``texts`` are the drafted files by name. A file that the porter removed or wrote differently is ignored.
    """
    file = TINY_SIZES.format(model=port.model)
    written = texts.get(file)
    named = _names_in_tests(written.encode() if written else checkout.read(file) or b"")
    taken = constructor_arguments(texts.get(f"{port.folder}/model/{port.model}_transformer/transformer.py", ""))
    unknown = [name for name in named if name not in taken]
    if not taken or not unknown:
        return {}
    return {"file": file, "says": unknown, "takes": [name for name in taken if name not in named]}


def _names_in_tests(source: bytes) -> list[str]:
    try:
        nodes = list(ast.walk(parse_python(source)))
    except SyntaxError:
        return []
    tables = [node.value for node in nodes if isinstance(node, ast.Assign) and _is_transformer(node.targets[0])]
    keys = [key for table in tables if isinstance(table, ast.Dict) for key in table.keys]
    return [key.value for key in keys if isinstance(key, ast.Constant)]


def _is_transformer(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "TRANSFORMER"
