"""Defaults of a diffusers pipeline, read from its source without importing it (importing takes seconds)."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from mflux_port.files.parsing import parse_python


@dataclass(frozen=True)
class PipelineDefaults:
    """The arguments of a pipeline's ``__call__``. ``steps`` and ``guidance`` are None when it has no such default.

    ``takes_negative_prompt``: whether it uses one at its default scales. ``where``: the file that was read.
    ``gives_sigmas``: whether it passes sigmas to the scheduler, which otherwise computes its own. ``masked``: the text
    encoders that get an attention mask.
    """

    steps: int | None
    guidance: float | None
    takes_negative_prompt: bool
    where: str = ""
    gives_sigmas: bool = True
    masked: frozenset[str] = frozenset()
    takes_image: bool = False  # an image to edit, not one to start from, to inpaint or to use as a control


# Names that pipelines use for what mflux calls guidance, in the order of preference.
_GUIDANCE = ("guidance_scale", "true_cfg_scale", "cfg_scale")
# Arguments of pipelines that inpaint an image or use it as a control, instead of editing it.
_OTHER_IMAGES = {"strength", "mask_image", "control_image", "controlnet_conditioning_scale"}


def read_defaults(class_name: str, own_source: str = "", where: str = "") -> PipelineDefaults | None:
    """The defaults of a pipeline class, from the checkpoint's own source or from the installed diffusers.

    ``own_source``: the text of the checkpoint's file ``where``, which is parsed and never run. None without the class.
    """
    if own_source:
        return _from_source(own_source, class_name, where)
    spec = importlib.util.find_spec("diffusers") if class_name else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "pipelines"
    for path in sorted(folder.glob("*/pipeline_*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^class {re.escape(class_name)}\b", text, re.MULTILINE):
            return _from_source(text, class_name, f"diffusers/pipelines/{path.parent.name}/{path.name}")
    return None


def _from_source(text: str, class_name: str, where: str) -> PipelineDefaults | None:
    try:
        body = parse_python(text).body
    except SyntaxError:
        return None
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            call = next(
                (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__call__"), None
            )
            return _from_call(call, node, where) if call else None
    return None


def _from_call(call: ast.FunctionDef, pipeline: ast.ClassDef, where: str) -> PipelineDefaults:
    names = [argument.arg for argument in (*call.args.args, *call.args.kwonlyargs)]
    defaults = dict(zip(reversed([one.arg for one in call.args.args]), reversed(call.args.defaults), strict=False))
    defaults |= {one.arg: node for one, node in zip(call.args.kwonlyargs, call.args.kw_defaults, strict=True) if node}
    values = {name: node.value for name, node in defaults.items() if isinstance(node, ast.Constant)}
    steps = values.get("num_inference_steps")
    scales = (values.get(name) for name in _GUIDANCE)
    scales = [float(scale) for scale in scales if type(scale) in (int, float)]
    # A second scale of 1 turns the unconditional prediction off, and mflux has one scale, which is the first.
    takes_negative = "negative_prompt" in names and not (len(scales) > 1 and scales[1] <= 1)
    # Sigmas that a caller may pass, and that the pipeline never computes, are None.
    gives_sigmas = "sigmas" not in names or "sigmas" in _assigned(call)
    whole_steps, guidance = steps if type(steps) is int else None, next(iter(scales), None)
    edits = "image" in names and not set(names) & _OTHER_IMAGES
    return PipelineDefaults(whole_steps, guidance, takes_negative, where, gives_sigmas, _masked(pipeline), edits)


def _assigned(function: ast.FunctionDef) -> set[str]:
    assignments = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
    return {target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)}


def _masked(pipeline: ast.ClassDef) -> frozenset[str]:
    calls = (node for node in ast.walk(pipeline) if isinstance(node, ast.Call))
    given = (node for node in calls if any(keyword.arg == "attention_mask" for keyword in node.keywords))
    names = (ast.unparse(node.func).rpartition(".")[2] for node in given)
    return frozenset(name for name in names if name.startswith("text_encoder"))
