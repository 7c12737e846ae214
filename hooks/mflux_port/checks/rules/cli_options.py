"""Options of the inference command: declared, existing, with defaults that fit the checkpoint."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.facts import PARSERS
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, none_of, not_applicable, rule
from mflux_port.checks.rules.cli import declared_flags, each_calls

_CLI = "src/mflux/models/<model>/cli/"
_TABLES = ("IGNORED_OPTIONS", "CONDITIONAL_OPTIONS", "REJECTED_OPTIONS")


@rule(
    "CLI05",
    looks_at=_CLI,
    fix="make the parser in a module-level build_parser()",
    why="mflux-capabilities reads it; without it the command is 'runtime-only' and mflux's own test fails (#499)",
    only=reasons.has_capabilities,
)
def parser_can_be_built(package: Package) -> Verdict:
    """The command has a module-level build_parser() (mflux 0.19 and later)"""
    lacking = []
    for file in package.commands:
        tree = package.facts.tree(file)
        if "build_parser" not in {*syntax.imports(tree), *(node.name for node in syntax.functions(tree))}:
            lacking.append(f"{file} has none")
    return none_of(lacking)


@rule(
    "CLI06",
    looks_at=_CLI,
    fix="pass default_model=DEFAULT_MODEL to add_model_arguments (mflux 0.18: parser.set_defaults(model=…))",
    why="a command that picks its model in main() gets 25 steps, whatever the table says (#580)",
    only=reasons.draws,
)
def parser_knows_the_default_model(package: Package) -> Verdict:
    """The parser knows the command's default model"""
    lacking = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        told = any(syntax.keyword(c, "default_model") for c in syntax.calls(nodes, "add_model_arguments"))
        told = told or any(syntax.keyword(call, "model") for call in syntax.calls(nodes, "set_defaults"))
        required = any(
            getattr(syntax.keyword(call, "require_model_arg"), "value", True) is True
            for call in syntax.calls(nodes, "add_model_arguments")
        )
        if not told and not required:
            lacking.append(f"{file} does not tell it")
    return none_of(lacking)


@rule(
    "CLI07",
    looks_at=_CLI,
    fix="call CommandLineParser.warn_ignored_options(IGNORED_OPTIONS) in main()",
    why="an option that is taken and ignored must say so (#649)",
    only=reasons.has_capabilities,
)
def ignored_options_are_warned_of(package: Package) -> Verdict:
    """Options without effect are declared and warned of"""
    silent = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        tables = [v for node in nodes for name, v in syntax.assignments([node]) if name == "IGNORED_OPTIONS"]
        declared = any(isinstance(table, ast.Dict) and table.keys for table in tables)
        calls = syntax.calls(nodes, "warn_ignored_options")
        warned = [word.id for call in calls for word in call.args if isinstance(word, ast.Name)]
        if declared and "IGNORED_OPTIONS" not in warned:
            silent.append(f"{file} declares IGNORED_OPTIONS and warns of none")
    return none_of(silent)


@rule(
    "CLI08",
    looks_at=f"{_CLI} and {PARSERS}",
    fix="declare options that the parser has, spelled as there",
    why="mflux-capabilities' test refuses a declared option that does not exist",
    only=reasons.has_capabilities,
)
def declared_options_exist(package: Package) -> Verdict:
    """Every declared option exists"""
    unknown = []
    for file in package.commands:
        own = set(declared_flags(package.command_nodes(file)))
        for name, value in syntax.assignments(package.facts.tree(file).body):
            if name in _TABLES and isinstance(value, ast.Dict):
                flags = [syntax.literal(key) for key in value.keys if key is not None]
                known = package.facts.shared_flags | own
                unknown += [
                    f"{file}: {flag} in {name}" for flag in flags if isinstance(flag, str) and flag not in known
                ]
    return none_of(unknown)


@rule(
    "CLI09",
    looks_at=_CLI,
    fix="DEFAULT_MODEL and FAMILY_MODELS hold keys of AVAILABLE_MODELS",
    why="a default that the registry does not know fails at every start",
    only=reasons.has_capabilities,
)
def default_models_exist(package: Package) -> Verdict:
    """The command's default and family models are registry keys"""
    wrong = []
    for file in package.commands:
        for name, value in syntax.assignments(package.facts.tree(file).body):
            if name in ("DEFAULT_MODEL", "FAMILY_MODELS"):
                found = syntax.literal(value)
                names = [found] if isinstance(found, str) else found if isinstance(found, tuple | list) else []
                known = {alias for entry in package.facts.registry.values() for alias in (entry.key, *entry.aliases)}
                wrong += [f"{file}: {item} is no model" for item in names if item not in known]
    return none_of(wrong)


@rule(
    "CLI10",
    looks_at=_CLI,
    fix="resolve --model with ConfigResolution.resolve_restricted(…)",
    why="a foreign --model is otherwise run with this model's code (#427)",
    only=reasons.has_capabilities,
)
def foreign_models_are_refused(package: Package) -> Verdict:
    """A foreign --model is refused"""
    return each_calls(package, "resolve_restricted", "parser.error")


@rule(
    "CLI16",
    looks_at=f"{_CLI}, AVAILABLE_MODELS",
    fix="a distilled checkpoint (supports_guidance=False) runs with guidance 1.0 or 0.0 by default",
    why="guidance was ignored, hard-coded or forbidden differently in command, README and preview (#697, #421)",
    only=reasons.has_entries,
)
def guidance_default_fits_the_checkpoint(package: Package) -> Verdict:
    """The default guidance fits the checkpoint: none for a distilled one"""
    distilled = {entry.key for entry in package.entries if entry.fields.get("supports_guidance") is False}
    if not distilled:
        return not_applicable("no checkpoint of the port is distilled")
    wrong = [
        f"{key} runs with guidance {g}"
        for key, g in guidance_defaults(package).items()
        if key in distilled and g not in (0, 1)
    ]
    for file in package.commands:
        constants = syntax.constants(package.facts.tree(file))
        default = constants.get("DEFAULT_GUIDANCE")
        if constants.get("DEFAULT_MODEL") in distilled and isinstance(default, float | int) and default not in (0, 1):
            wrong.append(f"{file}: DEFAULT_GUIDANCE is {default}")
    return none_of(wrong)


def guidance_defaults(package: Package) -> dict[str, object]:
    """The guidance that the variants declare per checkpoint (DEFAULT_GUIDANCE); empty where they declare none."""
    tables = [v for item in package.variants for n, v in syntax.assignments(item.node.body) if n == "DEFAULT_GUIDANCE"]
    found = [syntax.literal(table) for table in tables]
    return {key: value for table in found if isinstance(table, dict) for key, value in table.items()}
