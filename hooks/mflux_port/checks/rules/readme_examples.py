"""The README's examples: what is pasted must run, and show a checkpoint as the command's defaults do."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, not_applicable, rule
from mflux_port.checks.rules.cli_options import guidance_defaults
from mflux_port.files.parsing import parse_python

_README = "src/mflux/models/<model>/README.md"
_COMMAND = re.compile(r"^\s*(?:uv run )?(mflux-[\w.-]+)((?:.*\\\n)*.*)$", re.MULTILINE)


class Example(NamedTuple):
    """A command of the port with its arguments. ``key`` is the checkpoint it draws with; empty where that is not told."""

    command: str
    arguments: str
    key: str

    def value(self, option: str) -> str:
        """What is given to an option; empty when it is left out."""
        found = re.search(rf"(?<![\w-]){option}[ =]+(\S+)", self.arguments)
        return found.group(1).strip("\"'") if found else ""


@rule(
    "DOC06",
    looks_at=_README,
    fix="show every command of the port, and every checkpoint of the answers, in a shell example",
    why="a command that is not shown is not found (guide: turbo and base examples)",
    only=reasons.draws,
)
def readme_shows_every_command(package: Package) -> Verdict:
    """The README shows every command and every checkpoint"""
    shown = {name for name, _ in _shell(package)} | set(re.findall(r"mflux-[\w.-]*\w", package.readme))
    drawn = {example.key for example in _examples(package)}
    keys = [checkpoint.key for checkpoint in package.port.checkpoints] if package.port else []
    lacking = [f"{name} is not shown" for name in package.generating if name not in shown]
    return none_of(lacking + [f"no example draws with {key}" for key in keys if key not in drawn])


@rule(
    "DOC07",
    looks_at=_README,
    fix="take the option out of the example, or spell it as the parser does; name a model of the registry",
    why="README examples are a contract: they are pasted",
    only=reasons.draws,
)
def readme_options_exist(package: Package) -> Verdict:
    """Every option and every model in the README's examples exists"""
    known = set(package.facts.shared_flags)
    for file in package.facts.files(package.folder):
        if "add_argument(" in package.facts.text(file):
            known |= {text for text in syntax.strings(package.facts.nodes(file)) if text.startswith("-")}
    examples = _examples(package)
    unknown = {flag for example in examples for flag in _flags(example.arguments) if flag not in known}
    asked = {example.value("--model") for example in examples if not example.key}
    # A word in the spelling of a key is no folder and no repo.
    named = {name for name in asked if re.fullmatch(rf"{re.escape(package.model.split('_')[0])}[\w.-]*", name)}
    named = {name for name in named if not _is_saved_there(package, name)}
    return none_of(
        [f"{flag} is no option" for flag in sorted(unknown)] + [f"--model {name} is no model" for name in sorted(named)]
    )


@rule(
    "DOC08",
    looks_at=_README,
    fix="import what exists and call ModelConfig.<factory>() of the registry",
    why="the Python example must match command and defaults (guide)",
    only=reasons.draws,
)
def python_example_works(package: Package) -> Verdict:
    """The README has a Python example that can be parsed, and its names exist"""
    texts = _python(package)
    if not texts:
        return failed("no Python example imports the port")
    wrong = [
        f"ModelConfig.{name}() does not exist"
        for name in re.findall(r"ModelConfig\.(\w+)\(\)", "\n".join(texts))
        if name not in package.facts.factories
    ]
    for text in texts:
        try:
            imported = syntax.imports(parse_python(text))
        except SyntaxError as error:
            wrong.append(f"the example's line {error.lineno} is no Python: {(error.text or '').strip()}")
            continue
        for name, origin in imported.items():
            wrong += _missing(package, name, origin)
    return none_of(wrong)


@rule(
    "DOC09",
    looks_at=f"{_README} and MODEL_INFERENCE_STEPS",
    fix="show each checkpoint with its default steps, in shell and in Python",
    why="README, command and table showed three different numbers (#580)",
    only=reasons.has_entries,
)
def readme_steps_are_the_defaults(package: Package) -> Verdict:
    """The README's examples run with the checkpoint's default steps"""
    found = _shown(package, "--steps", "num_inference_steps")
    known = {entry.key: _steps(package, entry) for entry in package.entries}
    wrong = [
        f"{key} is shown with {given:g} steps, the default is {known[key]}"
        for key, given in found
        if isinstance(known[key], int) and known[key] != given
    ]
    return none_of(wrong) if found else not_applicable("no example gives --steps")


@rule(
    "DOC23",
    looks_at=f"{_README} and the variant's DEFAULT_GUIDANCE",
    fix="show a distilled checkpoint without --guidance, a base one with its default",
    why="the guide: guidance agrees in ModelConfig, command, README and training preview",
    only=reasons.has_entries,
)
def readme_guidance_is_the_default(package: Package) -> Verdict:
    """The README's examples run with the checkpoint's default guidance"""
    defaults = guidance_defaults(package)
    distilled = {entry.key for entry in package.entries if entry.fields.get("supports_guidance") is False}
    wrong = []
    for key, given in _shown(package, "--guidance", "guidance"):
        wanted = defaults.get(key, 1.0 if key in distilled else given)
        if given != wanted and not (key in distilled and given == 0):
            wrong.append(f"{key} is shown with guidance {given:g}, the default is {wanted}")
    return none_of(wrong)


def _shown(package: Package, option: str, parameter: str) -> list[tuple[str, float]]:
    """Checkpoint and number of every example, shell or Python, that gives the number and tells the checkpoint."""
    given = [(example.key, example.value(option)) for example in _examples(package)]
    found = [(key, float(text)) for key, text in given if key and re.fullmatch(r"\d+(\.\d+)?", text)]
    for text in _python(package):
        try:
            nodes = syntax.walk(parse_python(text))
        except SyntaxError:
            continue  # DOC08
        names = {syntax.dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
        keys = [package.facts.factories.get(name.removeprefix("ModelConfig.")) for name in names if "Config." in name]
        values = [syntax.literal(syntax.keyword(call, parameter)) for call in syntax.calls(nodes, "generate_image")]
        if len(keys) == 1 and keys[0] in {entry.key for entry in package.entries}:
            found += [(keys[0], float(value)) for value in values if isinstance(value, int | float)]
    return found


@cache
def _blocks(text: str, language: str) -> tuple[str, ...]:
    return tuple(re.findall(rf"```(?:{language})\n(.*?)```", text, re.DOTALL))


def _python(package: Package) -> list[str]:
    return [text for text in _blocks(package.readme, "python|py") if f"mflux.models.{package.model}" in text]


def _shell(package: Package) -> list[tuple[str, str]]:
    """Command and arguments of every shell example."""
    text = "\n".join(_blocks(package.readme, "sh|bash|shell|zsh"))
    return [(found.group(1), found.group(2)) for found in _COMMAND.finditer(text)]


def _examples(package: Package) -> list[Example]:
    """The shell examples of the commands that draw."""
    names = {name: entry.key for entry in package.entries for name in (entry.key, *entry.aliases, entry.repo)}
    made = []
    for command, arguments in _shell(package):
        if command in package.generating:
            given = Example(command, arguments, "").value("--model")
            key = names.get(given, "") if given else names.get(_default_model(package, command), "")
            made.append(Example(command, arguments, key))
    return made


def _default_model(package: Package, command: str) -> str:
    file = package.facts.find(package.generating[command].split(":")[0])
    return str(syntax.constants(package.facts.tree(file)).get("DEFAULT_MODEL", "")) if file else ""


def _is_saved_there(package: Package, name: str) -> bool:
    """Does the README make a folder of this name, as with ``mflux-save --path``?"""
    return bool(re.search(rf"--path[ =]+\S*{re.escape(name)}(?![\w-])", package.readme))


def _steps(package: Package, entry) -> object:
    names = (name for name in (entry.key, *entry.aliases) if name in package.facts.steps)
    return next((package.facts.steps[name] for name in names), None)


def _missing(package: Package, name: str, origin: str) -> list[str]:
    if not origin.startswith("mflux."):
        return []
    module = origin.rpartition(".")[0]
    file = package.facts.find(module)
    defined = file and re.search(rf"\b{re.escape(name)}\b", package.facts.text(file))
    return [] if defined else [f"{module} has no {name}"]


def _flags(text: str) -> list[str]:
    bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", "", text)
    return re.findall(r"(?<![\w-])(--[a-z][\w-]*)", bare)
