"""The download patterns of a port's weight definition, and the folders that its components and tokenizers load."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import syntax
from mflux_port.checks.engine.package import Package


def download_patterns(package: Package) -> list[str]:
    """The patterns that get_download_patterns() returns; ``*`` if it calls another definition."""
    functions = pattern_functions(package)
    nodes = [node for function in functions for node in syntax.walk(function)]
    found = own_patterns(package)
    delegated = any(syntax.dotted(c.func).endswith("get_download_patterns") for c in nodes if isinstance(c, ast.Call))
    return [*found, "*"] if delegated or not found and functions else found


def own_patterns(package: Package) -> list[str]:
    """The patterns in the definition, including those in constants of its module."""
    nodes = [node for function in pattern_functions(package) for node in syntax.walk(function)]
    found = syntax.strings(nodes)
    constants: dict[str, object] = {}
    for item in package.definitions:
        constants |= syntax.constants(package.facts.tree(item.file))
    for node in nodes:
        value = constants.get(node.id) if isinstance(node, ast.Name) else None
        found += [value] if isinstance(value, str) else [v for v in value or () if isinstance(v, str)]
    return found


def pattern_functions(package: Package) -> list[ast.FunctionDef]:
    """The methods of the definitions that list download patterns."""
    return [m for item in package.definitions for n, m in item.methods.items() if "download_patterns" in n]


def loaded_folders(definitions: list[ast.Call]) -> set[str]:
    """The top folders named by ``hf_subdir`` in ComponentDefinition and TokenizerDefinition calls."""
    given = [syntax.keyword(call, "hf_subdir") for call in definitions]
    found = {syntax.literal(value) for value in given if value}
    return {name.split("/")[0] for name in found if isinstance(name, str) and name != "."}


def is_downloaded(folder: str, patterns: list[str]) -> bool:
    """Whether a pattern matches files in the folder."""
    return any(pattern.split("/")[0] in (folder, "*", "**") or pattern.startswith("*") for pattern in patterns)
