"""Inference command: thin, on the shared parser, with the shared features working."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, none_of, rule

_CLI = "src/mflux/models/<model>/cli/"
_LONGEST = 260


def each_calls(package: Package, *names: str) -> Verdict:
    """Every command calls one of ``names``."""
    missing = [file for file in package.commands if not syntax.calls(package.command_nodes(file), *names)]
    return none_of([f"{file} does not call {names[0]}" for file in missing])


def declared_flags(nodes: list[ast.AST]) -> list[str]:
    """The options that calls of ``add_argument`` declare."""
    texts = [syntax.literal(part) for call in syntax.calls(nodes, "add_argument") for part in call.args]
    return [text for text in texts if isinstance(text, str) and text.startswith("-")]


@rule(
    "CLI01",
    looks_at=_CLI,
    fix="build the parser with CommandLineParser and its add_…_arguments()",
    why="options of the port's own drift from what every other command takes (#708)",
    only=reasons.draws,
)
def shared_parser_is_used(package: Package) -> Verdict:
    """The command uses the shared CommandLineParser"""
    return each_calls(package, "CommandLineParser")


@rule(
    "CLI02",
    looks_at=_CLI,
    fix="call CallbackManager.register_callbacks(args=args, model=model, latent_creator=…)",
    why="--stepwise-image-output-dir, --low-ram and --battery-percentage-stop-limit come from there",
    only=reasons.draws,
)
def callbacks_are_registered(package: Package) -> Verdict:
    """The command registers the shared callbacks"""
    return each_calls(package, "CallbackManager.register_callbacks")


@rule(
    "CLI03",
    looks_at=_CLI,
    fix="pass latent_creator=<the port's LatentCreator>",
    why="without it stepwise images are not unpacked (#322)",
    only=reasons.draws,
)
def callbacks_get_the_latent_creator(package: Package) -> Verdict:
    """The callbacks get a latent creator"""
    lacking = []
    for file in package.commands:
        for call in syntax.calls(package.facts.nodes(file), "CallbackManager.register_callbacks"):
            # It is the third parameter.
            value = syntax.keyword(call, "latent_creator") or next(iter(call.args[2:3]), None)
            if isinstance(value, ast.Attribute):
                value = _class_attribute(package, file, value.attr) or value
            if value is None or (isinstance(value, ast.Constant) and value.value is None):
                lacking.append(f"{file} line {call.lineno} gives none")
    return none_of(lacking)


@rule(
    "CLI04",
    looks_at=_CLI,
    fix="resolve width and height with DimensionResolver.resolve(…)",
    why="callers leave width and height out: API and OpenWebUI paths failed (#377, #378)",
    only=reasons.draws,
)
def dimensions_are_resolved(package: Package) -> Verdict:
    """Width and height go through DimensionResolver where they may be left out"""
    lacking = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        parsers = syntax.calls(nodes, "add_image_generator_arguments")
        open_ = any(syntax.keyword(call, "supports_dimension_scale_factor") for call in parsers)
        if open_ and not syntax.calls(nodes, "DimensionResolver.resolve"):
            lacking.append(f"{file} does not call DimensionResolver.resolve")
    return none_of(lacking)


@rule(
    "CLI11",
    looks_at=_CLI,
    fix="keep the command to parser, load, callbacks, loop over seeds; the rest belongs to the variant",
    why="logic in a command is not there for the Python API",
    only=reasons.draws,
)
def command_is_thin(package: Package) -> Verdict:
    """The command is thin: no tensors, not longer than 260 lines"""
    wrong = []
    for file in package.commands:
        lines = package.facts.text(file).count("\n")
        if lines > _LONGEST:
            wrong.append(f"{file} has {lines} lines")
        if any(origin.startswith("mlx") for origin in package.facts.imports(file).values()):
            wrong.append(f"{file} imports mlx")
    return none_of(wrong)


@rule(
    "CLI12",
    looks_at=_CLI,
    fix="catch StopImageGenerationException and PromptFileReadError around the loop and print them",
    why="Ctrl-C and a missing --prompt-file end in a traceback otherwise",
    only=reasons.draws,
)
def stops_are_handled(package: Package) -> Verdict:
    """A stopped run and an unreadable prompt file end without a traceback"""
    lacking = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        caught = {
            syntax.dotted(n) for h in nodes if isinstance(h, ast.ExceptHandler) and h.type for n in syntax.walk(h.type)
        }
        if "StopImageGenerationException" not in caught:
            lacking.append(f"{file} does not catch StopImageGenerationException")
    return none_of(lacking)


@rule(
    "CLI13",
    looks_at=_CLI,
    fix="read the prompt with PromptUtil.read_prompt(args)",
    why="--prompt-file and reading from the terminal come from there",
    only=reasons.draws,
)
def prompt_is_read_as_everywhere(package: Package) -> Verdict:
    """The prompt is read with a helper that knows --prompt-file"""
    bare = []
    for file in package.commands:
        found = [node for node in package.command_nodes(file) if isinstance(node, ast.Call) and node.args]
        named = [call for call in found if "prompt" in syntax.dotted(call.func).rpartition(".")[2]]
        helpers = [c for c in named if "negative" not in syntax.dotted(c.func) and syntax.dotted(c.args[0]) == "args"]
        if not helpers:
            bare.append(f"{file} reads args.prompt itself")
    return none_of(bare)


@rule(
    "CLI14",
    looks_at=_CLI,
    fix="save with image.save(path=args.output.format(seed=seed), export_json_metadata=args.metadata)",
    why="--metadata and {seed} in --output did nothing in hand-written commands (#492, #604)",
    only=reasons.draws,
)
def metadata_is_exported(package: Package) -> Verdict:
    """The image is saved with its metadata"""
    lacking = []
    for file in package.commands:
        saves = syntax.calls(package.command_nodes(file), "save")
        if saves and not any(syntax.has_keyword(call, "export_json_metadata") for call in saves):
            lacking.append(f"{file} saves without export_json_metadata")
    return none_of(lacking)


@rule(
    "CLI15",
    looks_at=_CLI,
    fix="loop over args.seed",
    why="--seed takes several numbers and --auto-seeds makes some",
    only=reasons.draws,
)
def every_seed_is_drawn(package: Package) -> Verdict:
    """Every seed is drawn"""
    lacking = []
    for file in package.commands:
        loops = [node for node in package.command_nodes(file) if isinstance(node, ast.For)]
        if not any("args.seed" in syntax.dotted(part) for node in loops for part in syntax.walk(node.iter)):
            lacking.append(f"{file} has no loop over args.seed")
    return none_of(lacking)


def _class_attribute(package: Package, file: str, name: str) -> ast.expr | None:
    for node in syntax.classes(package.facts.tree(file)):
        for target, value in syntax.assignments(node.body):
            if target == name:
                return value
    return None
