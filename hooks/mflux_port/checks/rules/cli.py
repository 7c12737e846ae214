"""CLI: the inference commands are thin, use the shared parser and support the shared features."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.checkout_facts import PARSERS
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed_if, not_applicable, rule

_CLI = "src/mflux/models/<model>/cli/"
_LONGEST = 260
_TABLES = ("IGNORED_OPTIONS", "CONDITIONAL_OPTIONS", "REJECTED_OPTIONS")


@rule(
    "CLI01",
    looks_at=_CLI,
    fix="build the parser with CommandLineParser and its add_…_arguments() methods",
    why="custom options diverge from those of all other commands (#708)",
    only=reasons.generates,
)
def shared_parser_is_used(package: Package) -> Verdict:
    """The command uses the shared CommandLineParser"""
    return _each_calls(package, "CommandLineParser")


@rule(
    "CLI02",
    looks_at=_CLI,
    fix="call CallbackManager.register_callbacks(args=args, model=model, latent_creator=…)",
    why="they implement --stepwise-image-output-dir, --low-ram and --battery-percentage-stop-limit",
    only=reasons.generates,
)
def callbacks_are_registered(package: Package) -> Verdict:
    """The command registers the shared callbacks"""
    return _each_calls(package, "CallbackManager.register_callbacks")


@rule(
    "CLI03",
    looks_at=_CLI,
    fix="pass latent_creator=<the port's LatentCreator>",
    why="without it stepwise images cannot be unpacked (#322)",
    only=reasons.generates,
)
def callbacks_get_the_latent_creator(package: Package) -> Verdict:
    """The callbacks get a latent creator"""
    lacking = []
    for file in package.commands:
        for call in syntax.calls(package.facts.nodes(file), "CallbackManager.register_callbacks"):
            # The latent creator is the third parameter.
            value = syntax.keyword(call, "latent_creator") or next(iter(call.args[2:3]), None)
            if isinstance(value, ast.Attribute):
                value = _class_attribute(package, file, value.attr) or value
            if value is None or (isinstance(value, ast.Constant) and value.value is None):
                lacking.append(f"{file} line {call.lineno} passes none")
    return failed_if(lacking)


@rule(
    "CLI04",
    looks_at=_CLI,
    fix="call DimensionResolver.resolve(…) for width and height",
    why="callers omit width and height: the API and OpenWebUI failed (#377, #378)",
    only=reasons.generates,
)
def dimensions_are_resolved(package: Package) -> Verdict:
    """Optional width and height are resolved with DimensionResolver"""
    lacking = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        parsers = syntax.calls(nodes, "add_image_generator_arguments")
        optional = any(syntax.keyword(call, "supports_dimension_scale_factor") for call in parsers)
        if optional and not syntax.calls(nodes, "DimensionResolver.resolve"):
            lacking.append(f"{file} does not call DimensionResolver.resolve")
    return failed_if(lacking)


@rule(
    "CLI05",
    looks_at=_CLI,
    fix="build the parser in a module-level build_parser()",
    why="mflux-capabilities calls it; without it the command is 'runtime-only' and mflux's own test fails (#499)",
    only=reasons.has_capabilities,
)
def parser_can_be_built(package: Package) -> Verdict:
    """The command has a module-level build_parser() (mflux 0.19 and later)"""
    lacking = []
    for file in package.commands:
        tree = package.facts.tree(file)
        if "build_parser" not in {*syntax.imports(tree), *(node.name for node in syntax.functions(tree))}:
            lacking.append(f"{file} has no build_parser()")
    return failed_if(lacking)


@rule(
    "CLI06",
    looks_at=_CLI,
    fix="pass default_model=DEFAULT_MODEL to add_model_arguments (mflux 0.18: parser.set_defaults(model=…))",
    why="a command that picks its model in main() gets 25 steps, regardless of the table of steps (#580)",
    only=reasons.generates,
)
def parser_has_the_default_model(package: Package) -> Verdict:
    """The parser has the command's default model"""
    lacking = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        calls = syntax.calls(nodes, "add_model_arguments")
        given = any(syntax.keyword(call, "default_model") for call in calls)
        given = given or any(syntax.keyword(call, "model") for call in syntax.calls(nodes, "set_defaults"))
        required = any(getattr(syntax.keyword(call, "require_model_arg"), "value", True) is True for call in calls)
        if not given and not required:
            lacking.append(f"{file} does not pass it")
    return failed_if(lacking)


@rule(
    "CLI07",
    looks_at=_CLI,
    fix="call CommandLineParser.warn_ignored_options(IGNORED_OPTIONS) in main()",
    why="a command must tell the user when it ignores an option (#649)",
    only=reasons.has_capabilities,
)
def ignored_options_give_a_warning(package: Package) -> Verdict:
    """Options without effect are declared, and the command warns about them"""
    silent = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        tables = [v for node in nodes for name, v in syntax.assignments([node]) if name == "IGNORED_OPTIONS"]
        declared = any(isinstance(table, ast.Dict) and table.keys for table in tables)
        calls = syntax.calls(nodes, "warn_ignored_options")
        warned = [word.id for call in calls for word in call.args if isinstance(word, ast.Name)]
        if declared and "IGNORED_OPTIONS" not in warned:
            silent.append(f"{file} declares IGNORED_OPTIONS and gives no warning")
    return failed_if(silent)


@rule(
    "CLI08",
    looks_at=f"{_CLI} and {PARSERS}",
    fix="declare only options of the parser, spelled the same way",
    why="the tests of mflux-capabilities reject a declared option that does not exist",
    only=reasons.has_capabilities,
)
def declared_options_exist(package: Package) -> Verdict:
    """Every declared option exists"""
    unknown = []
    for file in package.commands:
        own = set(syntax.declared_options(package.command_nodes(file)))
        for name, value in syntax.assignments(package.facts.tree(file).body):
            if name in _TABLES and isinstance(value, ast.Dict):
                flags = [syntax.literal(key) for key in value.keys if key is not None]
                known = package.facts.shared_flags | own
                unknown += [
                    f"{file}: {flag} in {name}" for flag in flags if isinstance(flag, str) and flag not in known
                ]
    return failed_if(unknown)


@rule(
    "CLI09",
    looks_at=_CLI,
    fix="use keys of AVAILABLE_MODELS in DEFAULT_MODEL and FAMILY_MODELS",
    why="a default that is not in the registry fails on every run",
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
                wrong += [f"{file}: {item} is not a model" for item in names if item not in known]
    return failed_if(wrong)


@rule(
    "CLI10",
    looks_at=_CLI,
    fix="resolve --model with ConfigResolution.resolve_restricted(…)",
    why="otherwise another family's model runs with this model's code (#427)",
    only=reasons.has_capabilities,
)
def other_families_are_refused(package: Package) -> Verdict:
    """The command refuses another family's --model"""
    return _each_calls(package, "resolve_restricted", "parser.error")


@rule(
    "CLI11",
    looks_at=_CLI,
    fix="keep only parser, loading, callbacks and the loop over seeds; move the rest to the variant class",
    why="the Python API does not get logic that is in a command",
    only=reasons.generates,
)
def command_is_thin(package: Package) -> Verdict:
    """The command is thin: no tensors, at most 260 lines"""
    wrong = []
    for file in package.commands:
        lines = package.facts.text(file).count("\n")
        if lines > _LONGEST:
            wrong.append(f"{file} has {lines} lines")
        if any(origin.startswith("mlx") for origin in package.facts.imports(file).values()):
            wrong.append(f"{file} imports mlx")
    return failed_if(wrong)


@rule(
    "CLI12",
    looks_at=_CLI,
    fix="catch StopImageGenerationException and PromptFileReadError around the loop and print them",
    why="otherwise Ctrl-C and a missing --prompt-file end in a traceback",
    only=reasons.generates,
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
    return failed_if(lacking)


@rule(
    "CLI13",
    looks_at=_CLI,
    fix="read the prompt with PromptUtil.read_prompt(args)",
    why="the helper implements --prompt-file and reading from stdin",
    only=reasons.generates,
)
def prompt_is_read_with_the_helper(package: Package) -> Verdict:
    """The prompt is read with a helper that supports --prompt-file"""
    bare = []
    for file in package.commands:
        found = [node for node in package.command_nodes(file) if isinstance(node, ast.Call) and node.args]
        named = [call for call in found if "prompt" in syntax.dotted(call.func).rpartition(".")[2]]
        helpers = [c for c in named if "negative" not in syntax.dotted(c.func) and syntax.dotted(c.args[0]) == "args"]
        if not helpers:
            bare.append(f"{file} reads args.prompt itself")
    return failed_if(bare)


@rule(
    "CLI14",
    looks_at=_CLI,
    fix="save with image.save(path=args.output.format(seed=seed), export_json_metadata=args.metadata)",
    why="--metadata and {seed} in --output had no effect in hand-written commands (#492, #604)",
    only=reasons.generates,
)
def metadata_is_exported(package: Package) -> Verdict:
    """The image is saved with its metadata"""
    lacking = []
    for file in package.commands:
        saves = syntax.calls(package.command_nodes(file), "save")
        if saves and not any(syntax.has_keyword(call, "export_json_metadata") for call in saves):
            lacking.append(f"{file} saves without export_json_metadata")
    return failed_if(lacking)


@rule(
    "CLI15",
    looks_at=_CLI,
    fix="loop over args.seed",
    why="--seed takes several numbers and --auto-seeds adds more",
    only=reasons.generates,
)
def every_seed_is_used(package: Package) -> Verdict:
    """The command generates an image for every seed"""
    lacking = []
    for file in package.commands:
        loops = [node for node in package.command_nodes(file) if isinstance(node, ast.For)]
        if not any("args.seed" in syntax.dotted(part) for node in loops for part in syntax.walk(node.iter)):
            lacking.append(f"{file} has no loop over args.seed")
    return failed_if(lacking)


@rule(
    "CLI16",
    looks_at=f"{_CLI}, AVAILABLE_MODELS",
    fix="give a distilled checkpoint (supports_guidance=False) a default guidance of 1.0 or 0.0",
    why="command, README and preview each treated guidance differently: ignored, hard-coded or refused (#697, #421)",
    only=reasons.has_entries,
)
def guidance_default_fits_the_checkpoint(package: Package) -> Verdict:
    """The default guidance fits the checkpoint: none for a distilled one"""
    distilled = package.distilled
    if not distilled:
        return not_applicable("no checkpoint of the port is distilled")
    wrong = [
        f"{key} runs with guidance {g}"
        for key, g in package.default_guidance.items()
        if key in distilled and g not in (0, 1)
    ]
    for file in package.commands:
        constants = syntax.constants(package.facts.tree(file))
        default = constants.get("DEFAULT_GUIDANCE")
        if constants.get("DEFAULT_MODEL") in distilled and isinstance(default, float | int) and default not in (0, 1):
            wrong.append(f"{file}: DEFAULT_GUIDANCE is {default}")
    return failed_if(wrong)


def _each_calls(package: Package, *names: str) -> Verdict:
    """Fail with the commands that call none of ``names``."""
    missing = [file for file in package.commands if not syntax.calls(package.command_nodes(file), *names)]
    return failed_if([f"{file} does not call {names[0]}" for file in missing])


def _class_attribute(package: Package, file: str, name: str) -> ast.expr | None:
    for node in syntax.classes(package.facts.tree(file)):
        for target, value in syntax.assignments(node.body):
            if target == name:
                return value
    return None
