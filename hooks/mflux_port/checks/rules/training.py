"""Training, for a port that mflux-train knows."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.facts import EXAMPLES, RUNNER
from mflux_port.checks.engine.package import Class, Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, not_applicable, passed, rule
from mflux_port.checks.rules.cli_options import guidance_defaults
from mflux_port.checks.rules.features import packing

_ADAPTER = "src/mflux/models/<model>/training_adapter/"
_BASE = "src/mflux/models/common/training/adapters/base.py"
_LOADER = "src/mflux/models/common/lora/mapping/lora_loader.py"


@rule(
    "TRN01",
    looks_at=RUNNER,
    fix="mflux-port wire <model>, or import the adapter and add its branch",
    why="an adapter without a branch ends in 'Flux1 training is no longer supported'",
    only=reasons.trains,
)
def adapter_is_registered(package: Package) -> Verdict:
    """The training runner knows the port's adapter"""
    imported = set(package.facts.imports(RUNNER).values())
    own = [name for name in imported if name.startswith(f"mflux.models.{package.model}.training_adapter")]
    if not own:
        return failed("runner.py imports no adapter of the port")
    built = syntax.calls(package.facts.nodes(RUNNER), *(name.rpartition(".")[2] for name in own))
    return passed() if built else failed(f"{own[0].rpartition('.')[2]} is imported and never built")


@rule(
    "TRN02",
    looks_at=_ADAPTER,
    fix="implement the method; the protocol is in training/adapters/base.py",
    why="the trainer calls it in the middle of a run",
    only=reasons.trains,
)
def adapter_is_complete(package: Package) -> Verdict:
    """The adapter has every method of the protocol"""
    protocol = next(
        (node for node in syntax.classes(package.facts.tree(_BASE)) if node.name == "TrainingAdapter"), None
    )
    known = {name for item in package.adapters for name in item.methods}
    if not package.adapters or protocol is None:
        return failed("training_adapter/ holds no adapter")
    return none_of([f"no {name}" for name in syntax.methods(protocol) if name not in known])


@rule(
    "TRN03",
    looks_at=EXAMPLES,
    fix="mflux-port wire <model> writes train_<model>.json",
    why="people start from the example; without one they start from another model's",
    only=reasons.trains,
)
def example_is_there(package: Package) -> Verdict:
    """There is an example configuration that names the model"""
    if package.examples:
        return passed(package.examples[0])
    own = f"{EXAMPLES}/train_{package.model}.json"
    broken = package.facts.exists(own) and not package.facts.json(own)
    return failed(f"{own} is no JSON" if broken else f"no example in {EXAMPLES} names the port")


@rule(
    "TRN04",
    looks_at=".gitignore",
    fix=f"add !{EXAMPLES}/train_<model>.json to .gitignore",
    why="mflux ignores JSON files: the example was missing from the commit",
    only=reasons.trains,
)
def example_is_not_ignored(package: Package) -> Verdict:
    """git sees the example"""
    lines = [line.strip() for line in package.facts.text(".gitignore").splitlines()]
    if not package.examples or "*.json" not in lines:
        return not_applicable("no example, or JSON files are not ignored")
    if package.port is None and not package.facts.has_tests:
        return not_applicable("this checkout is an unpacked release, which carries no .gitignore")
    shown = {line.lstrip("!") for line in lines if line.startswith("!")}
    return none_of(
        [f"{file} is ignored" for file in package.examples if file not in shown and f"{EXAMPLES}/*.json" not in shown]
    )


@rule(
    "TRN05",
    looks_at=f"{EXAMPLES} and the LoRA mapping",
    fix="name modules that the LoRA mapping has too, or the trained adapter can't be loaded",
    why="an adapter that was trained on unmapped modules loads as zero keys",
    only=lambda package: reasons.trains(package) or reasons.takes_lora(package),
)
def example_trains_mapped_modules(package: Package) -> Verdict:
    """The example trains modules that the LoRA mapping loads"""
    if not package.examples:
        return not_applicable("there is no example")
    known = {target.fields["model_path"] for target in package.lora_targets}
    lost = []
    for file in package.examples:
        layers = package.facts.json(file).get("lora_layers")
        targets = layers.get("targets") if isinstance(layers, dict) else None
        if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
            return failed(f"{file}: lora_layers.targets is no list of entries with a module_path")
        lost += [target.get("module_path") for target in targets if target.get("module_path") not in known]
    return none_of([f"{path} is not in the LoRA mapping" for path in sorted(map(str, set(lost)))])


@rule(
    "TRN06",
    looks_at=_ADAPTER,
    fix="preview with the checkpoint's own steps and guidance, not with those of the training file",
    why="a distilled model's previews were drawn with 50 steps, a base model's with guidance 1 (guide; #395)",
    only=reasons.trains,
)
def preview_uses_canonical_settings(package: Package) -> Verdict:
    """Previews use the checkpoint's own steps and guidance"""
    adapters = [item for item in package.adapters if "generate_preview_image" in item.methods]
    asked = {"num_inference_steps": {package.facts.steps.get(key) for key in package.keys}}
    if any("guidance" in syntax.parameters(item.methods["generate_image"]) for item in _drawing(package)):
        asked["guidance"] = set(guidance_defaults(package).values())
    wrong = []
    for item in adapters:
        for call in syntax.calls(syntax.walk(item.methods["generate_preview_image"]), "generate_image"):
            for name, defaults in asked.items():
                problem = _problem_of(item, syntax.keyword(call, name), defaults)
                wrong += [f"{item.file} line {call.lineno}: {name} {problem}"] if problem else []
    return none_of(wrong) if adapters else failed("no generate_preview_image")


@rule(
    "TRN07",
    looks_at=_ADAPTER,
    fix="pass bake_lora=False to LoRALoader.load_and_apply_lora",
    why="baked into the weights, a resumed adapter leaves nothing to train: ValueError on resume",
    only=reasons.trains,
)
def resumed_adapter_is_not_baked(package: Package) -> Verdict:
    """A resumed adapter stays trainable (bake_lora=False, mflux 0.19 and later)"""
    if "bake_lora" not in package.facts.text(_LOADER):
        return not_applicable("this mflux bakes no LoRAs")
    found = [call for item in package.adapters for call in syntax.calls(item.nodes, "LoRALoader.load_and_apply_lora")]
    baked = [call for call in found if getattr(syntax.keyword(call, "bake_lora"), "value", True) is not False]
    return none_of([f"line {call.lineno} bakes it" for call in baked])


@rule(
    "TRN08",
    looks_at=f"{_ADAPTER} and {RUNNER}",
    fix="take model_path in the adapter and pass training_spec.model_path in the runner",
    why="mflux-train could not use local weights (#365, #370)",
    only=reasons.trains,
)
def training_takes_local_weights(package: Package) -> Verdict:
    """mflux-train works on local weights"""
    lacking = []
    for item in package.adapters:
        init = item.methods.get("__init__")
        if not syntax.calls(package.facts.nodes(RUNNER), item.name):
            continue  # a shared base
        if init and "model_path" not in syntax.parameters(init):
            lacking.append(f"{item.name} takes no model_path")
        built = syntax.calls(package.facts.nodes(RUNNER), item.name)
        if not all(syntax.has_keyword(call, "model_path") for call in built):
            lacking.append(f"the runner gives {item.name} no model_path")
    return none_of(lacking)


@rule(
    "TRN09",
    looks_at=RUNNER,
    fix="let the runner apply low_ram tiling to adapter.model(), as for the other models",
    why="low_ram in the training file did nothing for a new model",
    only=reasons.trains,
)
def low_ram_reaches_the_model(package: Package) -> Verdict:
    """low_ram reaches the adapter's model"""
    branches = [node for node in package.facts.nodes(RUNNER) if isinstance(node, ast.If)]
    tiling = [node for node in branches if _asks_low_ram(node.test) and "model" in _called_on_adapter(node.body)]
    if not tiling:
        return failed(f"{RUNNER} does nothing to adapter.model() where low_ram is set")
    # The condition is low_ram alone, or what it asks besides is asked of every model.
    own = [node for node in tiling if not _speaks_of(package, node.test)]
    return passed() if own else failed(f"{RUNNER} line {tiling[0].lineno} leaves this model out")


@rule(
    "TRN10",
    looks_at=f"{_ADAPTER} and the variant",
    fix="pack and normalise in encode_data with the functions that image-to-image uses",
    why="training on latents that are normalised otherwise than inference learns the wrong thing (guide)",
    only=lambda package: reasons.trains(package) or reasons.takes_image(package),
)
def training_normalises_as_image_to_image(package: Package) -> Verdict:
    """Training packs and normalises latents as image-to-image does"""
    drawn = packing(package.variant_nodes)
    trained = packing([node for item in package.adapters for node in item.nodes])
    wrong = [f"the adapter does not call {name}" for name in sorted(drawn - trained)]
    # Where the shared LatentCreator packs by itself, no variant calls anything.
    wrong += [f"no variant calls {name}" for name in sorted(trained - drawn)] if drawn else []
    return none_of(wrong)


@rule(
    "TRN11",
    looks_at="README.md, the column Training",
    fix="say Yes in the model table",
    why="users read there whether a model can be trained",
    only=reasons.trains,
)
def readme_table_says_that_it_trains(package: Package) -> Verdict:
    """The model table says that the model can be trained"""
    cells = package.readme_row
    if len(cells) < 5:
        return failed(f"the model's row has {len(cells)} cells, no column Training" if cells else "no row of the model")
    return passed() if cells[4].lower().startswith("yes") else failed(f"the column says {cells[4]}")


@rule(
    "TRN12",
    looks_at=_ADAPTER,
    fix="set transformer.gradient_checkpointing there and read it in the block loop, or take the flag out",
    why="dead switches were left behind (guide: strip dead scaffolding)",
    only=reasons.draws,
)
def no_dead_gradient_checkpointing(package: Package) -> Verdict:
    """The gradient checkpointing switch is either used by training or not there"""
    files = [file for file in package.below("model") if "gradient_checkpointing" in package.facts.text(file)]
    if files and not package.trains:
        return failed(f"{files[0]} has the switch, nothing trains the port")
    return passed()


def _drawing(package: Package) -> list[Class]:
    return [item for item in package.variants if "generate_image" in item.methods]


def _problem_of(item: Class, given: ast.expr | None, defaults: set) -> str:
    """What is wrong with a preview's setting; ``defaults`` are the checkpoints' own. Empty when nothing is."""
    if given is None:
        return "is not given"
    parts = _origins(item, given)
    names = {syntax.dotted(part) for part in parts}
    if any("model_config" in name or "DEFAULT" in name for name in names):
        return ""
    if any(name == "steps" or "training_spec" in name for name in names):
        return "is the training file's"
    fixed = {part.value for part in parts if isinstance(part, ast.Constant) and not isinstance(part.value, str | None)}
    return f"is fixed at {min(fixed)}, the checkpoints have {_listed(defaults)}" if fixed and fixed != defaults else ""


def _listed(defaults: set) -> str:
    return ", ".join(sorted(map(str, defaults - {None}))) or "other defaults"


def _origins(item: Class, node: ast.expr) -> list[ast.AST]:
    """Every part of an expression, and of what the names in it were set to anywhere in the class."""
    found, left, seen = [], [node], set()
    assigned = [pair for inner in item.nodes if isinstance(inner, ast.Assign) for pair in syntax.assignments([inner])]
    while left:
        for part in syntax.walk(left.pop()):
            found.append(part)
            name = syntax.dotted(part)
            if name and name not in seen:
                seen.add(name)
                left += [value for target, value in assigned if target == name]
    return found


def _asks_low_ram(test: ast.expr) -> bool:
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    return any(syntax.dotted(part).endswith("low_ram") for part in parts)


def _called_on_adapter(body: list[ast.stmt]) -> set[str]:
    nodes = [part for statement in body for part in syntax.walk(statement) if isinstance(part, ast.Call)]
    return {name.rpartition(".")[2] for name in (syntax.dotted(node.func) for node in nodes) if "adapter." in name}


def _speaks_of(package: Package, test: ast.expr) -> bool:
    """Does a condition name the port: a name of its entries, or a variable that was set from one?"""
    nodes = package.facts.nodes(RUNNER)
    names = {part.id for part in syntax.walk(test) if isinstance(part, ast.Name)}
    parts = [test, *(value for node in nodes for target, value in syntax.assignments([node]) if target in names)]
    texts = {str(getattr(part, "value", "")) for tree in parts for part in syntax.walk(tree)}
    factories = {syntax.dotted(part).removeprefix("ModelConfig.") for tree in parts for part in syntax.walk(tree)}
    own = {name for entry in package.entries for name in (*entry.aliases, entry.repo)}
    return bool(
        own & texts or {name for name, key in package.facts.factories.items() if key in package.keys} & factories
    )
