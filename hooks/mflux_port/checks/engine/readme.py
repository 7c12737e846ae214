"""Read the package's README: headings, sizes, images, and examples in shell and Python."""

from __future__ import annotations

import ast
import posixpath
import re
from functools import cache
from typing import NamedTuple

from mflux_port.checks.engine import syntax
from mflux_port.checks.engine.package import Package
from mflux_port.files.parsing import parse_python

SIZE = re.compile(r"\d+(\.\d+)?\s*(GB|GiB|MB)", re.IGNORECASE)
# A line about memory use also names GB; only sizes on disk count.
_ON_DISK = re.compile(r"download|disk|weights|checkpoint|repo|saved?\b|quantized|storage|files?\b", re.IGNORECASE)
_COMMAND = re.compile(r"^\s*(?:uv run )?(mflux-[\w.-]+)((?:.*\\\n)*.*)$", re.MULTILINE)


class Example(NamedTuple):
    """A shell example of one of the port's commands. ``key`` is the checkpoint that it uses; empty if unknown."""

    command: str
    arguments: str
    key: str

    @property
    def options(self) -> list[str]:
        """The options in the example; quoted text is ignored."""
        bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", "", self.arguments)
        return re.findall(r"(?<![\w-])(--[a-z][\w-]*)", bare)

    def value(self, option: str) -> str:
        """The value of an option; empty when it is left out."""
        found = re.search(rf"(?<![\w-]){option}[ =]+(\S+)", self.arguments)
        return found.group(1).strip("\"'") if found else ""


def has_heading(package: Package, *words: str) -> bool:
    """Whether a heading contains one of the words."""
    headings = [line.lower() for line in package.readme.splitlines() if line.startswith("#")]
    return any(word in heading for heading in headings for word in words)


def sizes(package: Package) -> list[str]:
    """The lines that give a size on disk."""
    return [line for line in package.readme.splitlines() if SIZE.search(line) and _ON_DISK.search(line)]


def images(package: Package, text: str) -> list[str]:
    """The images linked in ``text``: paths relative to the checkout, or URLs."""
    links = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", text)
    paths = [first or second for first, second in links]
    return [path if path.startswith("http") else posixpath.normpath(f"{package.folder}/{path}") for path in paths]


def examples(package: Package) -> list[Example]:
    """The shell examples of the commands that generate images."""
    names = {name: entry.key for entry in package.entries for name in (entry.key, *entry.aliases, entry.repo)}
    found = []
    for command, arguments in _shell(package):
        if command in package.generating:
            given = Example(command, arguments, "").value("--model")
            key = names.get(given, "") if given else names.get(_default_model(package, command), "")
            found.append(Example(command, arguments, key))
    return found


def saves_to(package: Package, folder: str) -> bool:
    """Whether an example creates this folder, for example with ``mflux-save --path``."""
    return bool(re.search(rf"--path[ =]+\S*{re.escape(folder)}(?![\w-])", package.readme))


def python_examples(package: Package) -> list[str]:
    """The Python examples that import the package."""
    return [text for text in _blocks(package.readme, "python|py") if f"mflux.models.{package.model}" in text]


def import_problems(package: Package, text: str) -> list[str]:
    """What is wrong with a Python example: a syntax error, or imports from mflux that do not exist."""
    try:
        imported = syntax.imports(parse_python(text))
    except SyntaxError as error:
        return [f"the example's line {error.lineno} is not valid Python: {(error.text or '').strip()}"]
    problems = []
    for name, origin in imported.items():
        module = origin.rpartition(".")[0]
        defined = re.search(rf"\b{re.escape(name)}\b", package.facts.text(package.facts.find(module)))
        if origin.startswith("mflux.") and not defined:
            problems.append(f"{module} has no {name}")
    return problems


def shown_values(package: Package, option: str, parameter: str) -> list[tuple[str, float]]:
    """Checkpoint and number of each shell or Python example that has both."""
    given = [(example.key, example.value(option)) for example in examples(package)]
    found = [(key, float(text)) for key, text in given if key and re.fullmatch(r"\d+(\.\d+)?", text)]
    for text in python_examples(package):
        found += _values_in_python(package, text, parameter)
    return found


def _values_in_python(package: Package, text: str, parameter: str) -> list[tuple[str, float]]:
    try:
        nodes = syntax.walk(parse_python(text))
    except SyntaxError:
        return []  # DOC08 reports it
    names = {syntax.dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
    keys = [package.facts.factories.get(name.removeprefix("ModelConfig.")) for name in names if "Config." in name]
    values = [syntax.literal(syntax.keyword(call, parameter)) for call in syntax.calls(nodes, "generate_image")]
    if len(keys) != 1 or keys[0] not in {entry.key for entry in package.entries}:
        return []
    return [(keys[0], float(value)) for value in values if isinstance(value, int | float)]


def _shell(package: Package) -> list[tuple[str, str]]:
    """Command and arguments of each shell example."""
    text = "\n".join(_blocks(package.readme, "sh|bash|shell|zsh"))
    return [(found.group(1), found.group(2)) for found in _COMMAND.finditer(text)]


@cache
def _blocks(text: str, language: str) -> tuple[str, ...]:
    return tuple(re.findall(rf"```(?:{language})\n(.*?)```", text, re.DOTALL))


def _default_model(package: Package, command: str) -> str:
    file = package.facts.find(package.generating[command].split(":")[0])
    return str(syntax.constants(package.facts.tree(file)).get("DEFAULT_MODEL", "")) if file else ""
