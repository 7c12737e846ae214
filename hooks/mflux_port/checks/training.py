"""Training, for a port that mflux-train knows."""

from __future__ import annotations

import ast
import re

from mflux_port.checks import reasons, syntax
from mflux_port.checks.facts import EXAMPLES, RUNNER
from mflux_port.checks.package import Package
from mflux_port.checks.rule import Verdict, failed, none_of, not_applicable, passed, rule

_ADAPTER = "src/mflux/models/<model>/training_adapter/"
_BASE = "src/mflux/models/common/training/adapters/base.py"
_LOADER = "src/mflux/models/common/lora/mapping/lora_loader.py"


def _methods(package: Package, name: str) -> list[ast.FunctionDef]:
    return [item.methods[name] for item in package.adapters if name in item.methods]


@rule(
    "TRN01",
    looks_at=RUNNER,
    fix="mflux-port wire <model>, or import the adapter and add its branch",
    why="an adapter without a branch ends in 'Flux1 training is no longer supported'",
    only=reasons.trains,
)
def adapter_is_registered(package: Package) -> Verdict:
    """The training runner knows the port's adapter"""
    imported = set(syntax.imports(package.facts.tree(RUNNER)).values())
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
    return passed(package.examples[0]) if package.examples else failed(f"no example in {EXAMPLES} names the port")


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
    texts = [text for file in package.lora_mappings for text in syntax.strings(package.facts.nodes(file))]
    known = {re.sub(r"^(.*\{block\}|[a-z_]+)\.", "", text) for text in texts} | set(texts)
    lost = []
    for file in package.examples:
        targets = (package.facts.json(file).get("lora_layers") or {}).get("targets") or []
        for target in targets:
            path = str(target.get("module_path", ""))
            tail = path.split("{block}.")[-1]
            if path not in known and tail not in known and not any(text.endswith(f".{tail}") for text in texts):
                lost.append(f"{path} is not in the LoRA mapping")
    return none_of(sorted(set(lost))) if package.examples else not_applicable("there is no example")


@rule(
    "TRN06",
    looks_at=_ADAPTER,
    fix="preview with the checkpoint's own steps and guidance, not with those of the training file",
    why="a distilled model's previews were drawn with 50 steps, a base model's with guidance 1 (guide; #395)",
    only=reasons.trains,
)
def preview_uses_canonical_settings(package: Package) -> Verdict:
    """Previews use the checkpoint's own steps and guidance"""
    wrong = []
    for method in _methods(package, "generate_preview_image"):
        for call in syntax.calls(list(ast.walk(method)), "generate_image"):
            given = syntax.keyword(call, "num_inference_steps")
            if isinstance(given, ast.Name) and given.id == "steps" and not _reassigned(method, "steps"):
                wrong.append("num_inference_steps is the training file's")
            if not syntax.has_keyword(call, "guidance"):
                wrong.append("guidance is not given")
    return none_of(wrong) if _methods(package, "generate_preview_image") else failed("no generate_preview_image")


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
    text = package.facts.text(RUNNER)
    handled = "low_ram" in text and all("model" in item.methods or item.node.bases for item in package.adapters)
    return passed() if handled else failed("the runner or the adapter does not handle low_ram")


@rule(
    "TRN10",
    looks_at=f"{_ADAPTER} and the variant",
    fix="pack and normalise in encode_data with the functions that image-to-image uses",
    why="training on latents that are normalised otherwise than inference learns the wrong thing (guide)",
    only=lambda package: reasons.trains(package) or reasons.takes_image(package),
)
def training_normalises_as_image_to_image(package: Package) -> Verdict:
    """Training packs and normalises latents as image-to-image does"""
    wanted = _packing(package.variant_nodes)
    found = _packing([node for item in package.adapters for node in item.nodes])
    return none_of([f"the adapter does not call {name}" for name in sorted(wanted - found)])


@rule(
    "TRN11",
    looks_at="README.md, the column Training",
    fix="say Yes in the model table",
    why="users read there whether a model can be trained",
    only=reasons.trains,
)
def readme_table_says_that_it_trains(package: Package) -> Verdict:
    """The model table says that the model can be trained"""
    link = f"(src/mflux/models/{package.model}/README.md)"
    rows = [line for line in package.facts.text("README.md").splitlines() if link in line and line.startswith("|")]
    if not rows:
        return failed("the table has no row of the model")
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    return passed() if len(cells) > 4 and cells[4].lower().startswith("yes") else failed(f"the column says {cells[4]}")


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


def _reassigned(method: ast.FunctionDef, name: str) -> bool:
    return any(target == name for target, _ in syntax.assignments(method.body))


def _packing(nodes: list[ast.AST]) -> set[str]:
    names = {syntax.dotted(node.func).rpartition(".")[2] for node in nodes if isinstance(node, ast.Call)}
    return {name for name in names if "normalize_latents" in name or name == "pack_latents"}
