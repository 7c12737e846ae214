"""TRN: training, for a port that mflux-train supports."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.checkout_facts import EXAMPLES, RUNNER
from mflux_port.checks.engine.latents import packing_calls
from mflux_port.checks.engine.package import Class, Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, not_applicable, passed, rule

_ADAPTER = "src/mflux/models/<model>/training_adapter/"
_BASE = "src/mflux/models/common/training/adapters/base.py"
_LOADER = "src/mflux/models/common/lora/mapping/lora_loader.py"


@rule(
    "TRN01",
    looks_at=RUNNER,
    fix="mflux-port wire <model>, or import the adapter and add its branch",
    why="without the branch training ends with 'Flux1 training is no longer supported'",
    only=reasons.trains,
)
def adapter_is_registered(package: Package) -> Verdict:
    """The training runner builds the port's adapter"""
    imported = set(package.facts.imports(RUNNER).values())
    own = [name for name in imported if name.startswith(f"mflux.models.{package.model}.training_adapter")]
    if not own:
        return failed("runner.py imports no adapter of the port")
    built = syntax.calls(package.facts.nodes(RUNNER), *(name.rpartition(".")[2] for name in own))
    return passed() if built else failed(f"{own[0].rpartition('.')[2]} is imported but never created")


@rule(
    "TRN02",
    looks_at=_ADAPTER,
    fix="implement the method; training/adapters/base.py has the protocol",
    why="the trainer calls it in the middle of a run, which then fails",
    only=reasons.trains,
)
def adapter_is_complete(package: Package) -> Verdict:
    """The adapter has every method of the protocol"""
    classes = syntax.classes(package.facts.tree(_BASE))
    protocol = next((node for node in classes if node.name == "TrainingAdapter"), None)
    known = {name for item in package.adapters for name in item.methods}
    if not package.adapters or protocol is None:
        return failed("training_adapter/ has no adapter")
    return failed_if([f"no {name}" for name in syntax.methods(protocol) if name not in known])


@rule(
    "TRN03",
    looks_at=EXAMPLES,
    fix="mflux-port wire <model> writes train_<model>.json",
    why="users start from the example; without one they start from another model's",
    only=reasons.trains,
)
def example_exists(package: Package) -> Verdict:
    """There is an example configuration that names the model"""
    if package.examples:
        return passed(package.examples[0])
    own = f"{EXAMPLES}/train_{package.model}.json"
    broken = package.facts.exists(own) and not package.facts.json(own)
    return failed(f"{own} is not valid JSON" if broken else f"no example in {EXAMPLES} uses the model")


@rule(
    "TRN04",
    looks_at=".gitignore",
    fix=f"add !{EXAMPLES}/train_<model>.json to .gitignore",
    why="mflux ignores JSON files: the example was missing from the commit",
    only=reasons.trains,
)
def example_is_not_ignored(package: Package) -> Verdict:
    """git does not ignore the example"""
    lines = [line.strip() for line in package.facts.text(".gitignore").splitlines()]
    if not package.examples or "*.json" not in lines:
        return not_applicable("no example, or JSON files are not ignored")
    if package.port is None and not package.facts.has_tests:
        return not_applicable("this checkout is an unpacked release without .gitignore")
    shown = {line.lstrip("!") for line in lines if line.startswith("!")}
    return failed_if(
        [f"{file} is ignored" for file in package.examples if file not in shown and f"{EXAMPLES}/*.json" not in shown]
    )


@rule(
    "TRN05",
    looks_at=f"{EXAMPLES} and the LoRA mapping",
    fix="list only modules of the LoRA mapping; the trained adapter cannot be loaded otherwise",
    why="an adapter trained on unmapped modules loads zero keys",
    only=lambda package: reasons.trains(package) or reasons.takes_lora(package),
)
def example_trains_mapped_modules(package: Package) -> Verdict:
    """The example trains modules that the LoRA mapping can load"""
    if not package.examples:
        return not_applicable("there is no example")
    known = {target.fields["model_path"] for target in package.lora_targets}
    unmapped = []
    for file in package.examples:
        layers = package.facts.json(file).get("lora_layers")
        targets = layers.get("targets") if isinstance(layers, dict) else None
        if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
            return failed(f"{file}: lora_layers.targets is not a list of entries with a module_path")
        unmapped += [target.get("module_path") for target in targets if target.get("module_path") not in known]
    return failed_if([f"{path} is not in the LoRA mapping" for path in sorted(map(str, set(unmapped)))])


@rule(
    "TRN06",
    looks_at=_ADAPTER,
    fix="generate the preview with the checkpoint's own steps and guidance, not with those of the training file",
    why="previews used 50 steps for a distilled model and guidance 1 for a base model (guide; #395)",
    only=reasons.trains,
)
def previews_use_the_defaults(package: Package) -> Verdict:
    """Previews use the checkpoint's own steps and guidance"""
    adapters = [item for item in package.adapters if "generate_preview_image" in item.methods]
    settings = {"num_inference_steps": {package.facts.steps.get(key) for key in package.keys}}
    if any("guidance" in syntax.parameters(item.methods["generate_image"]) for item in _generating(package)):
        settings["guidance"] = set(package.default_guidance.values())
    wrong = []
    for item in adapters:
        for call in syntax.calls(syntax.walk(item.methods["generate_preview_image"]), "generate_image"):
            for name, defaults in settings.items():
                problem = _problem_of(item, syntax.keyword(call, name), defaults)
                wrong += [f"{item.file} line {call.lineno}: {name} {problem}"] if problem else []
    return failed_if(wrong) if adapters else failed("no generate_preview_image")


@rule(
    "TRN07",
    looks_at=_ADAPTER,
    fix="pass bake_lora=False to LoRALoader.load_and_apply_lora",
    why="when the adapter is baked into the weights, a resumed run has nothing to train: ValueError on resume",
    only=reasons.trains,
)
def resumed_adapter_is_not_baked(package: Package) -> Verdict:
    """A resumed adapter stays trainable (bake_lora=False, mflux 0.19 and later)"""
    if "bake_lora" not in package.facts.text(_LOADER):
        return not_applicable("this mflux does not bake LoRAs")
    found = [call for item in package.adapters for call in syntax.calls(item.nodes, "LoRALoader.load_and_apply_lora")]
    baked = [call for call in found if getattr(syntax.keyword(call, "bake_lora"), "value", True) is not False]
    return failed_if([f"line {call.lineno} bakes the adapter" for call in baked])


@rule(
    "TRN08",
    looks_at=f"{_ADAPTER} and {RUNNER}",
    fix="add model_path to the adapter and pass training_spec.model_path in the runner",
    why="mflux-train could not use local weights (#365, #370)",
    only=reasons.trains,
)
def training_takes_local_weights(package: Package) -> Verdict:
    """mflux-train accepts local weights"""
    lacking = []
    for item in package.adapters:
        init = item.methods.get("__init__")
        if not syntax.calls(package.facts.nodes(RUNNER), item.name):
            continue  # a shared base class
        if init and "model_path" not in syntax.parameters(init):
            lacking.append(f"{item.name} has no model_path parameter")
        built = syntax.calls(package.facts.nodes(RUNNER), item.name)
        if not all(syntax.has_keyword(call, "model_path") for call in built):
            lacking.append(f"the runner passes no model_path to {item.name}")
    return failed_if(lacking)


@rule(
    "TRN09",
    looks_at=RUNNER,
    fix="make the runner apply low_ram tiling to adapter.model(), as for the other models",
    why="low_ram in the training file had no effect for a new model",
    only=reasons.trains,
)
def low_ram_reaches_the_model(package: Package) -> Verdict:
    """low_ram applies to the adapter's model"""
    branches = [node for node in package.facts.nodes(RUNNER) if isinstance(node, ast.If)]
    tiling = [node for node in branches if _tests_low_ram(node.test) and "model" in _called_on_adapter(node.body)]
    if not tiling:
        return failed(f"{RUNNER} does not use adapter.model() when low_ram is set")
    # Other conditions besides low_ram are fine unless they name this model.
    applied = [node for node in tiling if not _names_the_port(package, node.test)]
    return passed() if applied else failed(f"{RUNNER} line {tiling[0].lineno} excludes this model")


@rule(
    "TRN10",
    looks_at=f"{_ADAPTER} and the variant",
    fix="in encode_data, pack and normalize with the functions that image-to-image uses",
    why="training on latents with another normalization than inference learns the wrong thing (guide)",
    only=lambda package: reasons.trains(package) or reasons.takes_image(package),
)
def training_normalizes_as_image_to_image(package: Package) -> Verdict:
    """Training packs and normalizes latents as image-to-image does"""
    generated = packing_calls(package.variant_nodes)
    trained = packing_calls([node for item in package.adapters for node in item.nodes])
    wrong = [f"the adapter does not call {name}" for name in sorted(generated - trained)]
    # No variant calls them where the shared LatentCreator packs the latents.
    wrong += [f"no variant calls {name}" for name in sorted(trained - generated)] if generated else []
    return failed_if(wrong)


@rule(
    "TRN11",
    looks_at="README.md, the Training column",
    fix="write Yes in the model table",
    why="users look there to see whether a model can be trained",
    only=reasons.trains,
)
def readme_table_lists_training(package: Package) -> Verdict:
    """The model table lists the model as trainable"""
    cells = package.readme_row
    if len(cells) < 5:
        return failed(
            f"the model's row has {len(cells)} cells, no Training column" if cells else "the model has no row"
        )
    return passed() if cells[4].lower().startswith("yes") else failed(f"the Training column says {cells[4]}")


@rule(
    "TRN12",
    looks_at=_ADAPTER,
    fix="set transformer.gradient_checkpointing there and read it in the block loop, or remove the flag",
    why="unused switches stay in the code (guide: strip dead scaffolding)",
    only=reasons.generates,
)
def no_dead_gradient_checkpointing(package: Package) -> Verdict:
    """The gradient checkpointing switch is used by training, or removed"""
    files = [file for file in package.files_in("model") if "gradient_checkpointing" in package.facts.text(file)]
    if files and not package.trains:
        return failed(f"{files[0]} has the switch, but the port has no training")
    return passed()


def _generating(package: Package) -> list[Class]:
    return [item for item in package.variants if "generate_image" in item.methods]


def _problem_of(item: Class, given: ast.expr | None, defaults: set) -> str:
    """What is wrong with a preview's setting, compared with the checkpoints' ``defaults``; empty when it is right."""
    if given is None:
        return "is not passed"
    parts = _origins(item, given)
    names = {syntax.dotted(part) for part in parts}
    if any("model_config" in name or "DEFAULT" in name for name in names):
        return ""
    if any(name == "steps" or "training_spec" in name for name in names):
        return "comes from the training file"
    fixed = {part.value for part in parts if isinstance(part, ast.Constant) and not isinstance(part.value, str | None)}
    return f"is fixed at {min(fixed)}, the checkpoints have {_listed(defaults)}" if fixed and fixed != defaults else ""


def _listed(defaults: set) -> str:
    return ", ".join(sorted(map(str, defaults - {None}))) or "other defaults"


def _origins(item: Class, node: ast.expr) -> list[ast.AST]:
    """Every part of an expression, and of the values assigned to its names anywhere in the class."""
    found, pending, seen = [], [node], set()
    assigned = [pair for inner in item.nodes if isinstance(inner, ast.Assign) for pair in syntax.assignments([inner])]
    while pending:
        for part in syntax.walk(pending.pop()):
            found.append(part)
            name = syntax.dotted(part)
            if name and name not in seen:
                seen.add(name)
                pending += [value for target, value in assigned if target == name]
    return found


def _tests_low_ram(test: ast.expr) -> bool:
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    return any(syntax.dotted(part).endswith("low_ram") for part in parts)


def _called_on_adapter(body: list[ast.stmt]) -> set[str]:
    nodes = [part for statement in body for part in syntax.walk(statement) if isinstance(part, ast.Call)]
    return {name.rpartition(".")[2] for name in (syntax.dotted(node.func) for node in nodes) if "adapter." in name}


def _names_the_port(package: Package, test: ast.expr) -> bool:
    """Whether a condition uses a name of the port, or a variable that was set from one."""
    nodes = package.facts.nodes(RUNNER)
    names = syntax.variable_names(syntax.walk(test))
    parts = [test, *(value for node in nodes for target, value in syntax.assignments([node]) if target in names)]
    texts = {str(getattr(part, "value", "")) for tree in parts for part in syntax.walk(tree)}
    factories = {syntax.dotted(part).removeprefix("ModelConfig.") for tree in parts for part in syntax.walk(tree)}
    own = {name for entry in package.entries for name in (*entry.aliases, entry.repo)}
    return bool(
        own & texts or {name for name, key in package.facts.factories.items() if key in package.keys} & factories
    )
