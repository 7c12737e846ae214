"""Weights and download scope: what the definition says must be what is loaded, no more and no less."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, needs_you, none_of, not_applicable, passed, rule

_DEFINITION = "src/mflux/models/<model>/weights/<model>_weight_definition.py"
_MAPPING = "src/mflux/models/<model>/weights/<model>_weight_mapping.py"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
_FLAT = ("*.safetensors", "**/*.safetensors", "*/*.safetensors")
# Every way into the two.
_LOADING = (
    ("WeightLoader.load", "WeightLoader.load_single", "WeightLoader.load_single_local"),
    ("WeightApplier.apply_and_quantize", "WeightApplier.apply_and_quantize_single"),
)
# Names that mflux counts by itself, or whose fixed number (4) is that of every VAE (weight_mapper.py).
_COUNTED = ("transformer_blocks.{block}", "model.layers.{layer}", "visual.blocks.", "down_block", "up_block")


@rule(
    "WGT01",
    looks_at=_DEFINITION,
    fix="add the class with get_components(), get_tokenizers() and get_download_patterns()",
    why="loader, saver, mflux-check and the tokenizers all ask this one class",
    only=reasons.draws,
)
def definition_is_there(package: Package) -> Verdict:
    """A weight definition with get_components, get_tokenizers and get_download_patterns"""
    if not package.definitions:
        return failed("weights/ holds no class with get_components")
    methods = {name for item in package.definitions for name in item.methods}
    wanted = ("get_components", "get_tokenizers", "get_download_patterns")
    return none_of([f"no {name}" for name in wanted if name not in methods])


@rule(
    "WGT02",
    looks_at=_DEFINITION,
    fix="add quantization_predicate(path, module)",
    why="without it -q quantizes by chance (#559, #599)",
    only=reasons.draws,
)
def definition_says_what_is_quantized(package: Package) -> Verdict:
    """The definition says which modules are quantized"""
    methods = {name for item in package.definitions for name in item.methods}
    return passed() if "quantization_predicate" in methods else failed("no quantization_predicate")


@rule(
    "WGT03",
    looks_at=_DEFINITION,
    fix="write the weight mapping and give it as mapping_getter",
    why="a component without a mapping is never checked: a missing tensor stays random (weight_mapper.py)",
    only=reasons.draws,
)
def components_have_mappings(package: Package) -> Verdict:
    """Every component has an explicit weight mapping"""
    # mflux's own saved copies are in the port's names already; a second definition of a name may do without.
    mapped, bare = set(), set()
    for call in package.components:
        getter = syntax.keyword(call, "mapping_getter")
        name = str(syntax.literal(syntax.keyword(call, "name")))
        given = getter is not None and not (isinstance(getter, ast.Constant) and getter.value is None)
        (mapped if given else bare).add(name)
    return none_of([f"{name} has no mapping_getter" for name in sorted(bare - mapped)])


@rule(
    "WGT04",
    looks_at=_DEFINITION,
    fix="add <subdir>/*.safetensors and <subdir>/*.json to get_download_patterns()",
    why="a component that is not downloaded fails on the first fresh machine (#593, #637)",
    only=reasons.draws,
)
def components_are_downloaded(package: Package) -> Verdict:
    """Every component's folder is downloaded"""
    patterns = download_patterns(package)
    lacking = [name for name in sorted(_subdirs(package.components)) if name and not covered(name, patterns)]
    return none_of([f"{name} is in no download pattern" for name in lacking]) if patterns else failed("no patterns")


@rule(
    "WGT05",
    looks_at=_DEFINITION,
    fix="take the pattern out: only what mflux loads is downloaded",
    why="the guide: list artifacts that mflux actually loads; an unused encoder is gigabytes",
    only=reasons.draws,
)
def nothing_else_is_downloaded(package: Package) -> Verdict:
    """No download pattern takes what nothing loads"""
    patterns = _own_patterns(package)
    folders = {pattern.split("/")[0] for pattern in patterns if "/" in pattern and "*" not in pattern.split("/")[0]}
    left = sorted(folders - _subdirs([*package.components, *package.tokenizers]))
    unused = [f"{name}/ is downloaded and not loaded" for name in left if not _is_named(package, name)]
    wide = [f"{pattern} takes every folder" for pattern in patterns if pattern in ("*", "**", "**/*", "*/*")]
    flat = [f"{pattern} takes every weight" for pattern in patterns if pattern in _FLAT and not _loads_flat(package)]
    return none_of(unused + wide + flat)


def _is_named(package: Package, folder: str) -> bool:
    """Does the package's code name the folder anywhere but in the download patterns?"""
    asking = {node for function in _pattern_functions(package) for node in syntax.walk(function)}
    for file in package.below(""):
        if folder in package.facts.text(file):
            texts = syntax.strings([node for node in package.facts.nodes(file) if node not in asking])
            if any(text.split("/")[0] == folder and "*" not in text for text in texts):
                return True
    return False


def _loads_flat(package: Package) -> bool:
    """Is a component read from the repo's own folder?"""
    given = [syntax.keyword(call, "hf_subdir") for call in package.components]
    return any(node is None or syntax.literal(node) in (".", "", None, syntax.UNKNOWN) for node in given)


@rule(
    "WGT06",
    looks_at=f"{_MAPPING} and {_DEFINITION}",
    fix="set max_blocks in the WeightTarget (or num_blocks in the ComponentDefinition) to the real number",
    why="mflux guesses 4 blocks where it is not told, and the others stay random",
    only=reasons.draws,
)
def block_counts_are_said(package: Package) -> Verdict:
    """The number of blocks is said wherever a mapping has {block}"""
    told = any(syntax.has_keyword(call, "num_blocks") for call in package.components)
    return none_of([] if told else _uncounted(package, "{block}", "max_blocks"))


@rule(
    "WGT07",
    looks_at=f"{_MAPPING} and {_DEFINITION}",
    fix="set num_layers in the ComponentDefinition",
    why="mflux guesses 28 layers where it is not told, and the others stay random",
    only=reasons.draws,
)
def layer_counts_are_said(package: Package) -> Verdict:
    """The number of layers is said wherever a mapping has {layer}"""
    told = any(syntax.has_keyword(call, "num_layers") for call in package.components)
    return none_of([] if told else _uncounted(package, "{layer}", "max_blocks"))


@rule(
    "WGT08",
    looks_at=_MAPPING,
    fix="write the mapping as a list of WeightTarget(to_pattern=…, from_pattern=[…])",
    why="explicit names are what reviewers compare with the checkpoint",
    only=reasons.draws,
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
    fix="pass precision=ModelConfig.precision (or the reason's own type) to each ComponentDefinition",
    why="a checkpoint in float32 doubles the memory, silently",
    only=reasons.draws,
)
def precision_is_said(package: Package) -> Verdict:
    """Every component says its precision"""
    said, silent = set(), set()
    for call in package.components:
        name = str(syntax.literal(syntax.keyword(call, "name")))
        (said if syntax.has_keyword(call, "precision") else silent).add(name)
    return none_of([f"{name} says no precision" for name in sorted(silent - said)])


@rule(
    "WGT10",
    looks_at="the checkpoint's safetensors headers and the mapping",
    fix="uv run --with <template> mflux-port ledger <model> --checkpoint <folder> names every tensor that is left over or missing",
    why="a module that keeps its random start draws noise, or something slightly off (#707)",
    only=reasons.has_answers,
)
def every_tensor_is_accounted_for(package: Package) -> Verdict:
    """Every tensor of the checkpoint is accounted for"""
    listed = f"porting/{package.model}/unresolved.yml"
    if package.facts.exists(listed):
        return failed(f"{listed} lists what the draft did not decide")
    return needs_you("uv run --with <template> mflux-port ledger <model> --checkpoint <folder>")


@rule(
    "WGT11",
    looks_at=_INITIALIZER,
    fix="load with WeightLoader.load and quantize with WeightApplier.apply_and_quantize",
    why="loaders of a port's own miss index files, saved copies and partial caches (#285, #603)",
    only=reasons.draws,
)
def shared_loader_is_used(package: Package) -> Verdict:
    """Weights go through WeightLoader and WeightApplier"""
    nodes = package.initializer_nodes or package.variant_nodes
    return none_of([f"{names[0]} is not called" for names in _LOADING if not syntax.calls(nodes, *names)])


@rule(
    "WGT12",
    looks_at="src/mflux/models/<model>/variants/",
    fix="pass the definition that the initializer loads to ModelSaver.save_model",
    why="a definition with fewer components saves a model without them (#405)",
    only=reasons.draws,
)
def saved_is_what_is_loaded(package: Package) -> Verdict:
    """save_model saves with the definition that the initializer loads"""
    saves = syntax.calls(package.variant_nodes, "ModelSaver.save_model")
    if not saves:
        return not_applicable("the port is not saved with ModelSaver")
    given = {syntax.dotted(syntax.keyword(call, "weight_definition")) for call in saves}
    loaded = {syntax.dotted(node) for node in package.initializer_nodes if isinstance(node, ast.Name)}
    for item in package.definitions:
        # A definition may be put together from those that are loaded.
        if loaded & {node.id for node in item.nodes if isinstance(node, ast.Name) and node.id != item.name}:
            loaded.add(item.name)
    wrong = sorted(name for name in given - loaded if name[:1].isupper())
    return none_of([f"{name} is saved, the initializer does not load it" for name in wrong])


@rule(
    "WGT13",
    looks_at=_INITIALIZER,
    fix="path = model_path if model_path else model_config.model_name, for weights and tokenizers alike",
    why="saved copies and mflux-train's model_path come in here (#370, #383)",
    only=reasons.draws,
)
def local_path_is_respected(package: Package) -> Verdict:
    """A local model_path is used instead of the repo"""
    nodes = package.initializer_nodes or package.variant_nodes
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return passed() if "model_path" in names else failed("the initializer does not use model_path")


def download_patterns(package: Package) -> list[str]:
    """What get_download_patterns() lists; ``*`` where it asks another definition."""
    functions = _pattern_functions(package)
    nodes = [node for function in functions for node in syntax.walk(function)]
    found = _own_patterns(package)
    delegated = any(syntax.dotted(c.func).endswith("get_download_patterns") for c in nodes if isinstance(c, ast.Call))
    return [*found, "*"] if delegated or not found and functions else found


def _pattern_functions(package: Package) -> list[ast.FunctionDef]:
    return [m for item in package.definitions for n, m in item.methods.items() if "download_patterns" in n]


def _own_patterns(package: Package) -> list[str]:
    nodes = [node for function in _pattern_functions(package) for node in syntax.walk(function)]
    found = syntax.strings(nodes)
    # Patterns that another family's definition, or a constant of the module, brings along count too.
    constants = {
        n: v for item in package.definitions for n, v in syntax.constants(package.facts.tree(item.file)).items()
    }
    for node in nodes:
        name = node.id if isinstance(node, ast.Name) else ""
        value = constants.get(name)
        found += [value] if isinstance(value, str) else [v for v in value or () if isinstance(v, str)]
    return found


def _subdirs(calls: list[ast.Call]) -> set[str]:
    found = {syntax.literal(syntax.keyword(call, "hf_subdir")) for call in calls if syntax.keyword(call, "hf_subdir")}
    return {name.split("/")[0] for name in found if isinstance(name, str) and name != "."}


def covered(folder: str, patterns: list[str]) -> bool:
    """Does a pattern reach into the folder?"""
    return any(pattern.split("/")[0] in (folder, "*", "**") or pattern.startswith("*") for pattern in patterns)


def _uncounted(package: Package, placeholder: str, argument: str) -> list[str]:
    found = []
    nodes = [node for file in package.below("") for node in package.facts.nodes(file)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for file in package.mappings:
        functions = [node for node in package.facts.nodes(file) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            if function.name not in used:
                continue  # left over: nothing loads with it
            named = _assigned_texts(function)
            bound = _bound_in_comprehensions(function)
            for call in syntax.calls(syntax.walk(function), "WeightTarget"):
                texts = _call_texts(call, {} if call in bound else named)
                counted = syntax.has_keyword(call, argument) or any(name in texts for name in _COUNTED)
                if placeholder in texts and not counted:
                    found.append(f"{file} line {call.lineno} has {placeholder} without a count")
    return found


def _call_texts(call: ast.Call, named: dict[str, str]) -> str:
    nodes = syntax.walk(call)
    names = [named[node.id] for node in nodes if isinstance(node, ast.Name) and node.id in named]
    return "".join([*syntax.strings(nodes), *names])


def _assigned_texts(function: ast.FunctionDef) -> dict[str, str]:
    """Local names that hold a piece of text, as in ``name = f"layers.{{block}}.{suffix}"``."""
    found = [node for node in syntax.walk(function) if isinstance(node, ast.Assign)]
    return {
        target.id: "".join(syntax.strings(syntax.walk(node.value)))
        for node in found
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.JoinedStr | ast.Constant)
    }


def _bound_in_comprehensions(function: ast.FunctionDef) -> set[ast.AST]:
    # A name inside a comprehension is the comprehension's own.
    found = [node for node in syntax.walk(function) if isinstance(node, ast.ListComp)]
    return {inner for node in found for inner in syntax.walk(node.elt)}
