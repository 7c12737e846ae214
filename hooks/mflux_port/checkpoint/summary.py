"""A readable summary of a checkpoint, for the person who ports it."""

from __future__ import annotations

from collections import Counter

from mflux_port.checkpoint.inference import Answer, defaults_of, infer_text_encoders
from mflux_port.checkpoint.layout import Checkpoint, Component
from mflux_port.errors import one_line


def describe(checkpoint: Checkpoint, answers: dict[str, Answer]) -> dict:
    """The summary as plain data, for ``--json`` and for ``format_summary``."""
    return {
        "checkpoint": checkpoint.where,
        "repo": checkpoint.repo,
        "revision": checkpoint.revision,
        "pipeline": checkpoint.pipeline,
        "custom_pipeline": checkpoint.pipeline_module,
        "unlisted": checkpoint.unlisted,
        "components": [_component(component) for component in checkpoint.components.values()],
        "tokenizers": checkpoint.tokenizers,
        "scheduler": checkpoint.scheduler.get("_class_name", ""),
        "answers": {name: {"value": a.value, "why": a.why, "known": a.known} for name, a in answers.items()},
        "reused": [_verdict(name, answer) for name, answer in _parts(checkpoint, answers).items()],
        "to_port": _to_port(checkpoint, answers),
    }


def format_summary(facts: dict) -> str:
    """The summary as text: components, tokenizers, what is reused, what must be ported."""
    lines = [f"{facts['pipeline'] or 'no pipeline'} in {facts['repo'] or facts['checkpoint']}", ""]
    for part in facts["components"]:
        types = ", ".join(f"{name} {share:.0%}" if share < 1 else name for name, share in part["dtypes"].items())
        lines.append(
            f"  {part['name']:<16} {part['class'] or 'unknown class':<34} {_count(part['parameters']):>8} parameters  "
            f"{_size(part['bytes']):>9}  {types}"
        )
        lines.append(
            f"  {'':<16} {part['tensors']} tensors in {part['files']} {'file' if part['files'] == 1 else 'files'}"
        )
        lines += [f"  {'':<16} note: {note}" for note in part["notes"]]
    if facts["custom_pipeline"]:
        lines += ["", f"custom code: the pipeline is defined in {facts['custom_pipeline']}; read it before it is run"]
    if facts["unlisted"]:
        lines += ["", f"not in model_index.json, so not a part of the pipeline: {', '.join(facts['unlisted'])}"]
    lines += ["", "tokenizers: " + (", ".join(facts["tokenizers"]) or "none found")]
    lines += ["", "what mflux has already:"] + [f"  {line}" for line in facts["reused"]]
    lines += ["", "what must be ported:"] + [f"  {line}" for line in facts["to_port"] or ["nothing"]]
    unknown = [name for name, answer in facts["answers"].items() if not answer["known"]]
    if unknown:
        lines += ["", f"look up before you use the answers: {', '.join(unknown)}"]
    if "checkpoints" not in facts["answers"]:
        lines += [
            "",
            "without a repo id the answers lack the sizes and the sigma shift; run again with --repo ORG/NAME",
        ]
    return "\n".join(one_line(line) for line in lines)


def _component(component: Component) -> dict:
    sizes = Counter()
    for tensor in component.tensors.values():
        sizes[tensor.dtype] += tensor.bytes
    total = sum(sizes.values()) or 1
    return {
        "name": component.name,
        "class": component.class_name,
        "library": component.library,
        "parameters": component.parameters,
        "bytes": component.weights.bytes,
        "tensors": len(component.tensors),
        "files": len(component.weights.names),
        "variant": component.weights.variant,
        "dtypes": {name: size / total for name, size in sizes.most_common()},
        "notes": _notes(component),
    }


def _notes(component: Component) -> list[str]:
    weights = component.weights
    notes = []
    if weights.variant:
        notes.append(f"only the {weights.variant} variant is there")
    if len(weights.names) > 1 and not weights.index:
        notes.append("shards without an index; all of them are read")
    if weights.others:
        notes.append(f"not read, other weights in the folder: {', '.join(weights.others)}; mflux would read them too")
    if component.custom_code:
        notes.append(f"custom code: {component.class_name} is defined in {component.folder}/{component.custom_code}")
    if component.role != component.name:
        notes.append(f"this is the port's {component.role}; its weights are in {component.folder}/")
    return [*map(str, component.classified.kinds), *notes]


def _verdict(question: str, answer: Answer) -> str:
    what = "nothing that fits: port it" if answer.value == "own" else f"`{answer.value}`"
    return f"{question}: {what} ({answer.why})"


def _parts(checkpoint: Checkpoint, answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers that may name a class of mflux, by the port's name for the part."""
    encoders = dict(enumerate(infer_text_encoders(checkpoint, defaults_of(checkpoint)), 1))
    further = {f"text_encoder_{number}": answer for number, answer in encoders.items() if number > 1}
    return {
        "vae": answers["vae"],
        "text_encoder": answers["text_encoder"],
        **further,
        "scheduler": answers["scheduler"],
    }


def _to_port(checkpoint: Checkpoint, answers: dict[str, Answer]) -> list[str]:
    lines, parts = [], _parts(checkpoint, answers)
    for component in checkpoint.components.values():
        answer = parts.get(component.role)
        if answer is None or answer.value == "own":
            kind = component.class_name or "class unknown"
            lines.append(f"{component.name}: {kind}, {len(component.tensors)} tensors")
    if answers["scheduler"].value == "own":
        lines.append(f"scheduler: {checkpoint.scheduler.get('_class_name', '')}")
    return lines


def _count(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
