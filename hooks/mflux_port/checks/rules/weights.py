"""WGT: the weight definition and mapping download and load exactly what the model needs."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.downloads import (
    download_patterns,
    is_downloaded,
    loaded_folders,
    own_patterns,
    pattern_functions,
)
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, needs_you, not_applicable, passed, rule

_DEFINITION = "src/mflux/models/<model>/weights/<model>_weight_definition.py"
_MAPPING = "src/mflux/models/<model>/weights/<model>_weight_mapping.py"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
_FLAT = ("*.safetensors", "**/*.safetensors", "*/*.safetensors")
# All functions of mflux that load weights, and those that apply them.
_LOADING = (
    ("WeightLoader.load", "WeightLoader.load_single", "WeightLoader.load_single_local"),
    ("WeightApplier.apply_and_quantize", "WeightApplier.apply_and_quantize_single"),
)
# mflux counts these blocks itself, or assumes 4, which is right for every VAE (weight_mapper.py).
_COUNTED = ("transformer_blocks.{block}", "model.layers.{layer}", "visual.blocks.", "down_block", "up_block")


@rule(
    "WGT01",
    looks_at=_DEFINITION,
    fix="add the class with get_components(), get_tokenizers() and get_download_patterns()",
    why="the loader, mflux-save, mflux-check and the tokenizers all use this class",
    only=reasons.generates,
)
def definition_is_complete(package: Package) -> Verdict:
    """The package has a weight definition with get_components, get_tokenizers and get_download_patterns"""
    if not package.definitions:
        return failed("weights/ has no class with get_components")
    methods = {name for item in package.definitions for name in item.methods}
    wanted = ("get_components", "get_tokenizers", "get_download_patterns")
    return failed_if([f"no {name}" for name in wanted if name not in methods])


@rule(
    "WGT02",
    looks_at=_DEFINITION,
    fix="add quantization_predicate(path, module)",
    why="without it -q quantizes an arbitrary set of layers (#559, #599)",
    only=reasons.generates,
)
def definition_decides_quantization(package: Package) -> Verdict:
    """The definition decides which modules are quantized"""
    methods = {name for item in package.definitions for name in item.methods}
    return passed() if "quantization_predicate" in methods else failed("no quantization_predicate")


@rule(
    "WGT03",
    looks_at=_DEFINITION,
    fix="write the weight mapping and pass it as mapping_getter",
    why="mflux does not check a component without a mapping: a missing tensor stays random (weight_mapper.py)",
    only=reasons.generates,
)
def components_have_mappings(package: Package) -> Verdict:
    """Every component has an explicit weight mapping"""
    # A second definition of the same component may load mflux's saved copies, which need no mapping.
    return failed_if([f"{name} has no mapping_getter" for name in _components_without(package, "mapping_getter")])


@rule(
    "WGT04",
    looks_at=_DEFINITION,
    fix="add <subdir>/*.safetensors and <subdir>/*.json to get_download_patterns()",
    why="a component that is not downloaded fails on the first machine with an empty cache (#593, #637)",
    only=reasons.generates,
)
def components_are_downloaded(package: Package) -> Verdict:
    """Every component's folder is downloaded"""
    patterns = download_patterns(package)
    lacking = [
        name for name in sorted(loaded_folders(package.components)) if name and not is_downloaded(name, patterns)
    ]
    return failed_if([f"{name} is in no download pattern" for name in lacking]) if patterns else failed("no patterns")


@rule(
    "WGT05",
    looks_at=_DEFINITION,
    fix="remove the pattern; download only what mflux loads",
    why="the guide: list only artifacts that mflux loads; an unused encoder costs gigabytes",
    only=reasons.generates,
)
def only_loaded_files_are_downloaded(package: Package) -> Verdict:
    """No download pattern matches files that mflux does not load"""
    patterns = own_patterns(package)
    folders = {pattern.split("/")[0] for pattern in patterns if "/" in pattern and "*" not in pattern.split("/")[0]}
    left = sorted(folders - loaded_folders([*package.components, *package.tokenizers]))
    unused = [f"{name}/ is downloaded but not loaded" for name in left if not _is_named(package, name)]
    wide = [f"{pattern} matches every folder" for pattern in patterns if pattern in ("*", "**", "**/*", "*/*")]
    flat = [
        f"{pattern} matches every weight file" for pattern in patterns if pattern in _FLAT and not _loads_flat(package)
    ]
    return failed_if(unused + wide + flat)


@rule(
    "WGT06",
    looks_at=f"{_MAPPING} and {_DEFINITION}",
    fix="set max_blocks in the WeightTarget (or num_blocks in the ComponentDefinition) to the real number",
    why="without it mflux assumes 4 blocks, and the others stay random",
    only=reasons.generates,
)
def block_counts_are_set(package: Package) -> Verdict:
    """The number of blocks is set wherever a mapping has {block}"""
    counted = any(syntax.has_keyword(call, "num_blocks") for call in package.components)
    return failed_if([] if counted else _uncounted(package, "{block}", "max_blocks"))


@rule(
    "WGT07",
    looks_at=f"{_MAPPING} and {_DEFINITION}",
    fix="set num_layers in the ComponentDefinition",
    why="without it mflux assumes 28 layers, and the others stay random",
    only=reasons.generates,
)
def layer_counts_are_set(package: Package) -> Verdict:
    """The number of layers is set wherever a mapping has {layer}"""
    counted = any(syntax.has_keyword(call, "num_layers") for call in package.components)
    return failed_if([] if counted else _uncounted(package, "{layer}", "max_blocks"))


@rule(
    "WGT08",
    looks_at=_MAPPING,
    fix="write the mapping as a list of WeightTarget(to_pattern=…, from_pattern=[…])",
    why="reviewers compare explicit names with the checkpoint",
    only=reasons.generates,
)
def mapping_is_explicit(package: Package) -> Verdict:
    """The mapping lists explicit WeightTargets, or reuses another family's"""
    nodes = [node for file in package.mappings for node in package.facts.nodes(file)]
    if syntax.calls(nodes, "WeightTarget"):
        return passed()
    getters = [syntax.dotted(syntax.keyword(call, "mapping_getter")) for call in package.components]
    reused = sorted({name for name in getters if name})
    return passed(f"reuses {', '.join(reused)}") if reused else failed("no WeightTarget in weights/")


@rule(
    "WGT09",
    looks_at=_DEFINITION,
    fix="pass precision=ModelConfig.precision (or another type, with a comment) to each ComponentDefinition",
    why="a float32 checkpoint silently doubles the memory use",
    only=reasons.generates,
)
def precision_is_set(package: Package) -> Verdict:
    """Every component sets its precision"""
    return failed_if([f"{name} sets no precision" for name in _components_without(package, "precision")])


@rule(
    "WGT10",
    looks_at="the checkpoint's safetensors headers and the mapping",
    fix="uv run --with <template> mflux-port ledger <model> --checkpoint <folder> lists every unused and every missing tensor",
    why="a module that keeps its random initial weights gives noise, or slightly wrong images (#707)",
    only=reasons.has_answers,
)
def every_tensor_is_accounted_for(package: Package) -> Verdict:
    """Every tensor of the checkpoint is accounted for"""
    listed = f"porting/{package.model}/unresolved.yml"
    if package.facts.exists(listed):
        return failed(f"{listed} lists what the draft left open")
    return needs_you("uv run --with <template> mflux-port ledger <model> --checkpoint <folder>")


@rule(
    "WGT11",
    looks_at=_INITIALIZER,
    fix="load with WeightLoader.load and quantize with WeightApplier.apply_and_quantize",
    why="custom loaders miss index files, saved copies and partial caches (#285, #603)",
    only=reasons.generates,
)
def shared_loader_is_used(package: Package) -> Verdict:
    """Weights are loaded with WeightLoader and WeightApplier"""
    nodes = package.initializer_nodes or package.variant_nodes
    return failed_if([f"{names[0]} is not called" for names in _LOADING if not syntax.calls(nodes, *names)])


@rule(
    "WGT12",
    looks_at="src/mflux/models/<model>/variants/",
    fix="pass the definition that the initializer loads to ModelSaver.save_model",
    why="a definition with fewer components saves an incomplete model (#405)",
    only=reasons.generates,
)
def saved_definition_is_the_loaded_one(package: Package) -> Verdict:
    """save_model uses the definition that the initializer loads"""
    saves = syntax.calls(package.variant_nodes, "ModelSaver.save_model")
    if not saves:
        return not_applicable("the port is not saved with ModelSaver")
    given = {syntax.dotted(syntax.keyword(call, "weight_definition")) for call in saves}
    loaded = syntax.variable_names(package.initializer_nodes)
    for item in package.definitions:
        # The saved definition may combine several that are loaded.
        if loaded & (syntax.variable_names(item.nodes) - {item.name}):
            loaded.add(item.name)
    wrong = sorted(name for name in given - loaded if name[:1].isupper())
    return failed_if([f"{name} is saved, but the initializer does not load it" for name in wrong])


@rule(
    "WGT13",
    looks_at=_INITIALIZER,
    fix="use path = model_path if model_path else model_config.model_name for weights and tokenizers",
    why="saved copies and mflux-train pass their folder as model_path (#370, #383)",
    only=reasons.generates,
)
def local_path_is_respected(package: Package) -> Verdict:
    """A local model_path is used instead of the repo"""
    names = syntax.variable_names(package.initializer_nodes or package.variant_nodes)
    return passed() if "model_path" in names else failed("the initializer does not use model_path")


def _components_without(package: Package, argument: str) -> list[str]:
    """The components for which no definition sets the argument."""
    given, bare = set(), set()
    for call in package.components:
        name = str(syntax.literal(syntax.keyword(call, "name")))
        has_value = syntax.has_keyword(call, argument) and syntax.literal(syntax.keyword(call, argument)) is not None
        (given if has_value else bare).add(name)
    return sorted(bare - given)


def _is_named(package: Package, folder: str) -> bool:
    """Whether the package's code names the folder outside the download patterns."""
    asking = {node for function in pattern_functions(package) for node in syntax.walk(function)}
    for file in package.files_in(""):
        if folder in package.facts.text(file):
            texts = syntax.strings([node for node in package.facts.nodes(file) if node not in asking])
            if any(text.split("/")[0] == folder and "*" not in text for text in texts):
                return True
    return False


def _loads_flat(package: Package) -> bool:
    """Whether a component is loaded from the repo's top folder."""
    given = [syntax.keyword(call, "hf_subdir") for call in package.components]
    return any(node is None or syntax.literal(node) in (".", "", None, syntax.UNKNOWN) for node in given)


def _uncounted(package: Package, placeholder: str, argument: str) -> list[str]:
    """The WeightTargets in use that have a placeholder but no count for it."""
    nodes = [node for file in package.files_in("") for node in package.facts.nodes(file)]
    used = syntax.attribute_names(nodes)
    found = []
    for file in package.mappings:
        for function in package.facts.nodes(file):
            if isinstance(function, ast.FunctionDef) and function.name in used:
                lines = _lines_without_count(function, placeholder, argument)
                found += [f"{file} line {line} has {placeholder} without a count" for line in lines]
    return found


def _lines_without_count(function: ast.FunctionDef, placeholder: str, argument: str) -> list[int]:
    variables, bound = _assigned_texts(function), _bound_in_comprehensions(function)
    lines = []
    for call in syntax.calls(syntax.walk(function), "WeightTarget"):
        texts = _call_texts(call, {} if call in bound else variables)
        counted = syntax.has_keyword(call, argument) or any(name in texts for name in _COUNTED)
        if placeholder in texts and not counted:
            lines.append(call.lineno)
    return lines


def _call_texts(call: ast.Call, variables: dict[str, str]) -> str:
    nodes = syntax.walk(call)
    names = [variables[node.id] for node in nodes if isinstance(node, ast.Name) and node.id in variables]
    return "".join([*syntax.strings(nodes), *names])


def _assigned_texts(function: ast.FunctionDef) -> dict[str, str]:
    """Local variables that hold a string, for example ``name = f"layers.{{block}}.{suffix}"``."""
    found = [node for node in syntax.walk(function) if isinstance(node, ast.Assign)]
    return {
        target.id: "".join(syntax.strings(syntax.walk(node.value)))
        for node in found
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.JoinedStr | ast.Constant)
    }


def _bound_in_comprehensions(function: ast.FunctionDef) -> set[ast.AST]:
    # A name in a comprehension is not the local variable of the same name.
    found = [node for node in syntax.walk(function) if isinstance(node, ast.ListComp)]
    return {inner for node in found for inner in syntax.walk(node.elt)}
