"""The tiny twin of a reference: its class at small sizes with random parameters, and runs that it accepts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from mflux_port.draft.forward.record.small_inputs import largest_number
from mflux_port.draft.forward.twin.runs import find_runs, text_runs, unknown_inputs, vae_runs
from mflux_port.draft.forward.twin.small_config import small_config
from mflux_port.port.text_encoders import part_of

_LARGEST = 1e4  # the largest number that a module of a twin may return: a softmax of larger ones shows its rounding
_CALM = 1e-5  # the largest change of a twin's result that one unit in the last place of its inputs may cause
_MOST_PARAMETERS = 2e8  # 0.8 GB in float32; twins have a hundredth of it


@dataclass
class Twin:
    """``runs``: (method, keywords). ``reason``: why there is none, in one line."""

    model: object
    runs: list[tuple[str, dict]]
    config: dict
    reason: str = ""
    rebuild: Callable | None = None


def make_twin(component, name: str, tables: dict[str, dict] | None = None) -> Twin:
    """The twin of a checkpoint's component.

    ``name``: the port's name for it; ``tables``: settings that its pipeline gives.
    """
    from mflux_port.draft.tree.from_reference import build, build_plainly

    config = small_config(name, _with_layer_types(component))
    refused = _refused(component.class_name, build_plainly(component, config, "meta"))
    if refused:
        return Twin(None, [], config, refused)
    model = build(component, config, "cpu")
    if model is None:
        return Twin(None, [], config, f"{component.class_name} cannot be built at small sizes")
    model.eval()
    randomise(model)
    _plain_attention(model)
    tried = copy.deepcopy(model)  # a run may cache tables that the next one would reuse
    runs = {"vae": lambda: vae_runs(tried, config), "text_encoder": lambda: text_runs(tried, config)}
    found = runs.get(part_of(name), lambda: find_runs(tried, config, tables=tables or {}))()
    if not _is_steady(tried, found):
        randomise(model, wide_embedders=False)
    reason = "" if found else f"no inputs were found that {component.class_name} takes"
    unknown = unknown_inputs(model) if not found and name == "transformer" else []
    if unknown:
        reason += f": none is known for {', '.join(unknown)}"
    return Twin(model, found, config, reason, lambda: build_plainly(component, config, "cpu"))


def _with_layer_types(component) -> dict:
    """The config with the kinds of its layers, which older files leave to the config's class: a
    twin shows each kind.
    """
    if component.library != "transformers" or "layer_types" in component.config:
        return component.config
    import transformers

    try:
        kinds = getattr(transformers, component.class_name).config_class.from_dict(component.config).layer_types
    except Exception:  # noqa: BLE001 - a config without kinds of layers, or one that the class refuses
        return component.config
    return component.config | {"layer_types": list(kinds)} if kinds else component.config


def _refused(class_name: str, shapes) -> str:
    """Why a class cannot be built at small sizes, checked on a model without memory; empty if it can."""
    if shapes is None:
        return f"{class_name} cannot be built at small sizes"
    count = sum(parameter.numel() for parameter in shapes.parameters())
    if count > _MOST_PARAMETERS:
        return (
            f"{class_name} has {count / 1e6:.0f} million parameters at small sizes: config.json lacks some of its sizes, "
            "so that the class takes its own"
        )
    return ""


def _is_steady(model, runs: list[tuple[str, dict]]) -> bool:
    """Whether the results hardly move if the inputs move by one unit in the last place, and no module's is huge.

    Other weights prove nothing.
    """
    import torch

    from mflux_port.draft.forward.proof.arrays import is_steady
    from mflux_port.draft.forward.record.recorder import clone

    largest = [0.0]

    def watch(module, args, output) -> None:
        largest[0] = max(largest[0], largest_number(output))

    handles = [module.register_forward_hook(watch) for module in model.modules()]
    try:
        for method, inputs in runs:
            run = getattr(model, method)
            with torch.no_grad():
                if not is_steady(run, (), inputs, clone(run(**clone(inputs))), clone, _CALM):
                    return False
    finally:
        for handle in handles:
            handle.remove()
    return largest[0] <= _LARGEST


def randomise(model, seed: int = 0, wide_embedders: bool = True) -> None:
    """Give every parameter and running statistic a random value: zeros that a reference starts with would hide errors.

    ``wide_embedders``: the layers that embed time and text give large values, as tables of embeddings do.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    kinds = model.named_modules()
    tables = {f"{path}.weight" for path, module in kinds if isinstance(module, torch.nn.Embedding)}
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(_scaled(name, tensor, noise, wide_embedders or name in tables))
        for name, tensor in model.named_buffers():
            if "running" in name:
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise if name.endswith("var") else noise - 0.5)


def _scaled(name: str, tensor, noise, is_wide: bool):
    if tensor.ndim < 2:
        return 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise
    fan_in = 4 if "embed" in name and is_wide else tensor[0].numel()
    return noise * max(1, fan_in) ** -0.5


def _plain_attention(model) -> None:
    # transformers' attention as one torch call, if the model has it.
    if hasattr(model, "set_attn_implementation"):
        try:
            model.set_attn_implementation("sdpa")
        except ValueError:
            model.set_attn_implementation("eager")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the model's own source, not the library's fused calls
