"""LoRA: every way in which exporters write keys, and a command that does not drop what it took."""

from __future__ import annotations

import ast

from mflux_port.checks import reasons, syntax
from mflux_port.checks.package import Package
from mflux_port.checks.rule import Verdict, failed, needs_you, none_of, passed, rule

_MAPPING = "src/mflux/models/<model>/weights/<model>_lora_mapping.py"
_ZERO = "a file whose keys match nothing is a LoRA that does nothing (#371, #374, #376, #397, #577)"


def _texts(package: Package) -> list[str]:
    return [text for file in package.lora_mappings for text in syntax.strings(package.facts.nodes(file))]


def _spelled(package: Package, *pieces: str) -> Verdict:
    texts = _texts(package)
    return none_of([f"no key with {piece!r}" for piece in pieces if not any(piece in text for text in texts)])


@rule(
    "LOR01",
    looks_at=_MAPPING,
    fix="add <model>_lora_mapping.py with a LoRATarget per linear layer",
    why=_ZERO,
    only=reasons.takes_lora,
)
def mapping_is_there(package: Package) -> Verdict:
    """A port that takes --lora has a LoRA mapping"""
    return passed(package.lora_mappings[0]) if package.lora_mappings else failed("weights/ holds no LoRA mapping")


@rule(
    "LOR02",
    looks_at=_MAPPING,
    fix="add the patterns <path>.lora_A.weight and <path>.lora_B.weight",
    why=_ZERO,
    only=reasons.takes_lora,
)
def diffusers_keys_are_known(package: Package) -> Verdict:
    """The mapping knows the keys of diffusers and PEFT (lora_A, lora_B)"""
    return _spelled(package, "lora_A", "lora_B")


@rule(
    "LOR03",
    looks_at=_MAPPING,
    fix="add the patterns <path>.lora_A.default.weight and <path>.lora_B.default.weight",
    why="PEFT writes its adapter's name into the key (#376)",
    only=reasons.takes_lora,
)
def peft_adapter_names_are_known(package: Package) -> Verdict:
    """The mapping knows PEFT's adapter name (.default.weight)"""
    return _spelled(package, ".default")


@rule(
    "LOR04",
    looks_at=_MAPPING,
    fix="add the prefix diffusion_model.",
    why="ComfyUI and the original repos write it (#374, #397)",
    only=reasons.takes_lora,
)
def comfyui_keys_are_known(package: Package) -> Verdict:
    """The mapping knows ComfyUI's prefix (diffusion_model.)"""
    return _spelled(package, "diffusion_model")


@rule(
    "LOR05",
    looks_at=_MAPPING,
    fix="add the flattened paths with the prefix lora_unet_, and lora_down, lora_up and alpha",
    why="kohya joins the path with underscores and scales by alpha (#397)",
    only=reasons.takes_lora,
)
def kohya_keys_are_known(package: Package) -> Verdict:
    """The mapping knows kohya's keys (lora_unet_, lora_down, lora_up, alpha)"""
    return _spelled(package, "lora_unet_", "alpha")


@rule(
    "LOR06",
    looks_at=_MAPPING,
    fix="write each target's path out, as transformer_blocks.{block}.attn.to_q",
    why="the maintainers ask for explicit targets, not for paths found at run time (#376)",
    only=reasons.takes_lora,
)
def targets_are_written_out(package: Package) -> Verdict:
    """The targets are written out"""
    nodes = [node for file in package.lora_mappings for node in package.facts.nodes(file)]
    computed = syntax.calls(nodes, "named_modules", "leaf_modules", "tree_flatten")
    if computed:
        return failed(f"line {computed[0].lineno} finds its paths at run time")
    return (
        passed()
        if any("{block}" in text or "{" in text for text in _texts(package))
        else failed("no path is written out")
    )


@rule(
    "LOR07",
    looks_at="src/mflux/models/<model>/cli/",
    fix="pass **lora_init_kwargs_from_args(args) (mflux 0.18: lora_paths and lora_scales) to the class",
    why="commands took --lora and dropped it (#615, #616)",
    only=reasons.takes_lora,
)
def commands_pass_the_lora_on(package: Package) -> Verdict:
    """A command that takes --lora passes it to the model"""
    dropped = []
    for file in package.commands:
        nodes = package.facts.nodes(file)
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        passes = "lora_paths" in names or syntax.calls(nodes, "lora_init_kwargs_from_args")
        if syntax.calls(nodes, "add_lora_arguments") and not passes:
            dropped.append(f"{file} takes --lora and drops it")
    return none_of(dropped)


@rule(
    "LOR08",
    looks_at="src/mflux/models/<model>/<model>_initializer.py",
    fix="apply with LoRALoader.load_and_apply_lora and the port's mapping",
    why="a loader of the port's own knows neither stacking, nor baking, nor the zero-match error",
    only=reasons.takes_lora,
)
def shared_lora_loader_is_used(package: Package) -> Verdict:
    """LoRAs go through LoRALoader"""
    nodes = [*package.initializer_nodes, *package.variant_nodes]
    return passed() if syntax.calls(nodes, "LoRALoader.load_and_apply_lora") else failed("LoRALoader is not called")


@rule(
    "LOR09",
    looks_at="src/mflux/models/<model>/variants/",
    fix="add lora_paths and lora_scales (and bake_lora since mflux 0.19) to the class's __init__",
    why="mflux-save and the commands pass them by name",
    only=reasons.takes_lora,
)
def classes_take_loras(package: Package) -> Verdict:
    """The variant classes take lora_paths, lora_scales and bake_lora"""
    bake = "bake_lora" in package.facts.text("src/mflux/models/common/lora/mapping/lora_loader.py")
    wanted = ["lora_paths", "lora_scales", *(["bake_lora"] if bake else [])]
    inits = [
        (item.name, syntax.parameters(item.methods["__init__"]))
        for item in package.variants
        if "__init__" in item.methods
    ]
    return none_of([f"{name} takes no {item}" for name, known in inits for item in wanted if item not in known])


@rule(
    "LOR10",
    looks_at="LoRA files that people use",
    fix="mflux-port ledger <model> --lora <file> names the keys that match nothing; add their spelling to the mapping",
    why=_ZERO,
    only=lambda package: reasons.has_answers(package) or reasons.takes_lora(package),
)
def community_files_match(package: Package) -> Verdict:
    """LoRA files from the community match"""
    return needs_you("mflux-port ledger <model> --lora <file>")
