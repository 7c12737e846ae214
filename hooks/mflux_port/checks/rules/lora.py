"""LOR: the LoRA mapping has every key format, and the commands pass LoRAs on to the model."""

from __future__ import annotations

import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, needs_you, passed, rule

_MAPPING = "src/mflux/models/<model>/weights/<model>_lora_mapping.py"
_ZERO = "a LoRA file whose keys match nothing has no effect, silently (#371, #374, #376, #397, #577)"


def _has_mapping(package: Package) -> str | None:
    return reasons.takes_lora(package) or (None if package.lora_mappings else "there is no LoRA mapping: LOR01")


@rule(
    "LOR01",
    looks_at=_MAPPING,
    fix="add <model>_lora_mapping.py with a LoRATarget per linear layer",
    why=_ZERO,
    only=reasons.takes_lora,
)
def mapping_exists(package: Package) -> Verdict:
    """A port that takes --lora has a LoRA mapping"""
    return passed(package.lora_mappings[0]) if package.lora_mappings else failed("weights/ has no LoRA mapping")


@rule(
    "LOR02",
    looks_at=_MAPPING,
    fix="add the patterns <path>.lora_A.weight and <path>.lora_B.weight",
    why=_ZERO,
    only=_has_mapping,
)
def diffusers_keys_are_mapped(package: Package) -> Verdict:
    """The mapping has the keys of diffusers and PEFT (lora_A, lora_B)"""
    return _lacking(package, r"lora_B\.weight$", r"lora_A\.weight$")


@rule(
    "LOR03",
    looks_at=_MAPPING,
    fix="add the patterns <path>.lora_A.default.weight and <path>.lora_B.default.weight",
    why="PEFT writes the adapter's name into the key (#376)",
    only=_has_mapping,
)
def peft_adapter_names_are_mapped(package: Package) -> Verdict:
    """The mapping has keys with PEFT's adapter name (.default.weight)"""
    return _lacking(package, r"lora_B\.default\.weight$", r"lora_A\.default\.weight$")


@rule(
    "LOR04",
    looks_at=_MAPPING,
    fix="add the prefix diffusion_model.",
    why="ComfyUI and the original repos use this prefix (#374, #397)",
    only=_has_mapping,
)
def comfyui_keys_are_mapped(package: Package) -> Verdict:
    """The mapping has keys with ComfyUI's prefix (diffusion_model.)"""
    return _lacking(package, r"^diffusion_model\.", r"^diffusion_model\.")


@rule(
    "LOR05",
    looks_at=_MAPPING,
    fix="add the flattened paths with the prefix lora_unet_, and lora_down, lora_up and alpha",
    why="kohya joins the path with underscores and scales by alpha (#397)",
    only=_has_mapping,
)
def kohya_keys_are_mapped(package: Package) -> Verdict:
    """The mapping has kohya's keys (lora_unet_, lora_down, lora_up, alpha)"""
    kohya = r"^lora_unet_\S+\."
    return _lacking(package, rf"{kohya}lora_up\.weight$", rf"{kohya}lora_down\.weight$", rf"{kohya}alpha$")


@rule(
    "LOR06",
    looks_at=_MAPPING,
    fix="write each target's path, for example transformer_blocks.{block}.attn.to_q",
    why="the maintainers want explicit targets, not paths found at run time (#376)",
    only=_has_mapping,
)
def targets_are_explicit(package: Package) -> Verdict:
    """The targets are listed explicitly"""
    nodes = [node for file in package.lora_mappings for node in package.facts.nodes(file)]
    computed = syntax.calls(nodes, "named_modules", "leaf_modules", "tree_flatten")
    if computed:
        return failed(f"line {computed[0].lineno} finds the paths at run time")
    targets = package.lora_targets
    return passed(f"{len(targets)} targets") if targets else failed("the mapping has no target")


@rule(
    "LOR07",
    looks_at="src/mflux/models/<model>/cli/",
    fix="call parser.add_lora_arguments() and pass **lora_init_kwargs_from_args(args) (0.18: lora_paths and lora_scales)",
    why="commands accepted --lora and ignored it (#615, #616)",
    only=reasons.takes_lora,
)
def commands_pass_loras_to_the_model(package: Package) -> Verdict:
    """The commands take --lora and pass it to the model"""
    wrong = []
    for file in package.commands:
        nodes = package.command_nodes(file)
        passes = "lora_paths" in syntax.attribute_names(nodes) or syntax.calls(nodes, "lora_init_kwargs_from_args")
        takes = syntax.calls(nodes, "add_lora_arguments")
        if takes and not passes:
            wrong.append(f"{file} takes --lora and ignores it")
        if not takes and package.port and package.port.lora:
            wrong.append(f"{file} does not call add_lora_arguments, although the answers have lora")
    return failed_if(wrong)


@rule(
    "LOR08",
    looks_at="src/mflux/models/<model>/<model>_initializer.py",
    fix="load with LoRALoader.load_and_apply_lora and the port's mapping",
    why="a custom loader has no stacking, no baking and no error for zero matches",
    only=reasons.takes_lora,
)
def shared_lora_loader_is_used(package: Package) -> Verdict:
    """LoRAs are loaded with LoRALoader"""
    found = syntax.calls(package.model_nodes, "LoRALoader.load_and_apply_lora")
    return passed() if found else failed("LoRALoader is not called")


@rule(
    "LOR09",
    looks_at="src/mflux/models/<model>/variants/",
    fix="add lora_paths and lora_scales (and bake_lora since mflux 0.19) to the class's __init__",
    why="mflux-save and the commands pass them as keyword arguments",
    only=reasons.takes_lora,
)
def classes_take_loras(package: Package) -> Verdict:
    """The variant classes take lora_paths, lora_scales and bake_lora"""
    bake = "bake_lora" in package.facts.text("src/mflux/models/common/lora/mapping/lora_loader.py")
    wanted = ["lora_paths", "lora_scales", *(["bake_lora"] if bake else [])]
    classes = [item for item in package.variants if "__init__" in item.methods]
    inits = [(item.name, syntax.parameters(item.methods["__init__"])) for item in classes]
    return failed_if(
        [f"{name} has no parameter {item}" for name, known in inits for item in wanted if item not in known]
    )


@rule(
    "LOR10",
    looks_at="LoRA files from the community",
    fix="uv run --with <template> mflux-port ledger <model> --lora <file> lists the keys that match nothing; add their format to the mapping",
    why=_ZERO,
    only=lambda package: reasons.has_answers(package) or reasons.takes_lora(package),
)
def community_files_match(package: Package) -> Verdict:
    """Community LoRA files match"""
    return needs_you("uv run --with <template> mflux-port ledger <model> --lora <file>")


@rule(
    "LOR11",
    looks_at="src/mflux/models/<model>/cli/",
    fix="remove the options and call parser.add_lora_arguments()",
    why="the guide: --lora-paths and --lora-scales come from the shared parser, not from a custom loader",
    only=reasons.takes_lora,
)
def lora_options_are_shared(package: Package) -> Verdict:
    """No command declares its own LoRA options"""
    own = [
        (file, flag) for file in package.files_in("cli") for flag in syntax.declared_options(package.facts.nodes(file))
    ]
    return failed_if(
        [f"{file} declares {flag}" for file, flag in own if flag in ("--lora", "--lora-paths", "--lora-scales")]
    )


def _lacking(package: Package, up: str, down: str, alpha: str = "") -> Verdict:
    """Fail when targets lack an up, down or alpha key of a format, given as regular expressions."""
    targets = _keys_by_module(package)
    bare = [
        path
        for path, (ups, downs, alphas) in targets.items()
        if not (_matches(up, ups) and _matches(down, downs) and (not alpha or _matches(alpha, alphas)))
    ]
    if not bare:
        return passed()
    return failed(f"{len(bare)} of {len(targets)} targets have no such key, for example {bare[0]}")


def _keys_by_module(package: Package) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """The up, down and alpha keys of every module that takes a LoRA; a module may have several targets."""
    found: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for target in package.lora_targets:
        lists = found.setdefault(str(target.fields["model_path"]), ([], [], []))
        for keys, name in zip(lists, ("up", "down", "alpha"), strict=True):
            keys += target.fields.get(f"possible_{name}_patterns") or []
    return {path: lists for path, lists in found.items() if lists[0] or lists[1]}


def _matches(pattern: str, keys: list[str]) -> bool:
    return any(re.search(pattern, key) for key in keys)
