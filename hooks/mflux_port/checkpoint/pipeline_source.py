"""Defaults of a diffusers pipeline, read from its source without importing it (importing takes seconds)."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PipelineDefaults:
    """What the pipeline's ``__call__`` takes. ``steps`` and ``guidance`` are None when it has no such default."""

    steps: int | None
    guidance: float | None
    takes_negative_prompt: bool


def read_defaults(class_name: str) -> PipelineDefaults | None:
    """The defaults of a pipeline class of the installed diffusers; None without diffusers or without that class."""
    spec = importlib.util.find_spec("diffusers") if class_name else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "pipelines"
    for path in sorted(folder.glob("*/pipeline_*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^class {re.escape(class_name)}\b", text, re.MULTILINE):
            return _from_source(text, class_name)
    return None


def _from_source(text: str, class_name: str) -> PipelineDefaults | None:
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            call = next(
                (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__call__"), None
            )
            return _from_call(call) if call else None
    return None


def _from_call(call: ast.FunctionDef) -> PipelineDefaults:
    names = [argument.arg for argument in call.args.args]
    defaults = dict(zip(reversed(names), reversed(call.args.defaults), strict=False))
    values = {name: node.value for name, node in defaults.items() if isinstance(node, ast.Constant)}
    steps, guidance = values.get("num_inference_steps"), values.get("guidance_scale")
    return PipelineDefaults(
        steps if type(steps) is int else None,
        float(guidance) if type(guidance) in (int, float) else None,
        "negative_prompt" in names,
    )
