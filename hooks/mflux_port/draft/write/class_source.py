"""The source files of drafted classes: every ``__init__`` complete, every ``__call__`` to be ported."""

from __future__ import annotations

import keyword
import textwrap
from types import MappingProxyType

from mflux_port.draft.write.forward_text import forward_source, initial_source, is_proven, needs_math, uses_functions
from mflux_port.draft.write.group_into_classes import ClassDraft
from mflux_port.draft.write.licence import licence_of
from mflux_port.draft.write.source_text import WIDTH, Call, signature, statement, text, write

# What the rest of a port calls in addition to __call__, or instead of it, by component.
_CALLS = {
    "vae": (("encode", ["image: mx.array"]), ("decode", ["latents: mx.array"])),
    "transformer": (("get_rotary_embeddings", ["latents: mx.array", "prompt_embeds: mx.array"]),),
}


# Names that nn.Module already has, since it is a dict; MLX sets no attribute with such a name.
_TAKEN = {
    *dir(dict), "apply", "apply_to_modules", "children", "eval", "filter_and_map", "freeze", "is_module", "leaf_modules",
    "load_weights", "modules", "named_modules", "parameters", "save_weights", "set_dtype", "state", "train",
    "trainable_parameter_filter", "trainable_parameters", "training", "unfreeze", "update_modules",
    "valid_child_filter", "valid_parameter_filter",
}  # fmt: skip


def module_files(
    drafts: list[ClassDraft], package: str, defaults: dict[str, object], component: str, shared: str = ""
) -> dict[str, str]:
    """The text of each file by its stem.

    The last draft is the top class; ``defaults`` are its keywords and their values.

    ``package``: the dotted package of the files. ``shared``: the name of the port's class of functions.
    """
    plain = lambda draft: [f"{name}: {kind}" for name, kind in draft.parameters.items()]  # noqa: E731
    files = {draft.stem: _file(draft, package, plain(draft), shared=shared) for draft in drafts[:-1]}
    top = drafts[-1]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in defaults.items()}
    parameters = [f"{name}: {_type(value)} = {value!r}" for name, value in values.items()]
    kept = {name: value for name, value in values.items() if name not in top.parameters}
    files[top.stem] = _file(top, package, parameters, kept, component, shared)
    return files


def _file(
    draft: ClassDraft,
    package: str,
    parameters: list[str],
    kept: dict = MappingProxyType({}),
    component: str = "",
    shared: str = "",
) -> str:
    source = _constructor(draft, parameters, kept, shared) + _methods(draft, component, shared)
    base = draft.base or Call("nn.Module")
    licence = licence_of(draft.file) if component else ""
    where = f" in {draft.file}" + f" ({licence})" * bool(licence) if draft.file else ""
    bases = "" if draft.is_object else f"({base.name})"
    head = f"\n\nclass {draft.name}{bases}:\n" + _comment(f"Reference: {draft.reference}{where}", 4)
    return _imports(draft, package, head + source, shared) + head + source


def _imports(draft: ClassDraft, package: str, source: str, shared: str) -> str:
    proven = is_proven(draft.forward)
    used = [(f"{package}.{other.stem}", other.name) for other in draft.uses]
    used += [(f"{package}.functions", shared)] if proven and uses_functions(draft.forward) else []
    lines = ["import math\n\n"] if proven and needs_math(draft.forward) else []
    lines += ["import mlx.core as mx\n"] if "mx." in source else []
    lines += ["from mlx import nn\n"] if "nn." in source else []
    lines += ["\n"] if used else []
    return "".join([*lines, *(_import(module, name) for module, name in sorted(used))])


def _constructor(draft: ClassDraft, parameters: list[str], kept: dict, shared: str) -> str:
    base = draft.base or Call("nn.Module")
    lines = [signature("__init__", parameters)]
    lines += [] if draft.is_object else [f"        {write(Call('super().__init__', base.arguments), 8, 0)}\n"]
    attributes = {name for name, _, _ in draft.fields}
    for name, value in kept.items():
        if name not in attributes:
            # MLX treats a list as a part of the module.
            lines.append(f"        self.{name} = {f'tuple({name})' if isinstance(value, tuple) else name}\n")
    lines += [_comment(remark, 8) for remark in draft.remarks]
    for name, expression, flag in draft.fields:
        lines += [f"        if {flag}:\n"] if flag else []
        lines.append(statement(_attribute(name), expression, 12 if flag else 8))
    lines += initial_source(draft.forward, draft.name, shared) if is_proven(draft.forward) else []
    return "".join(lines)


def _attribute(name: str) -> str:
    plain = name.isidentifier() and not keyword.iskeyword(name) and name not in _TAKEN
    return f"self.{name}" if plain else f"self[{text(name)}]"


def _methods(draft: ClassDraft, component: str, shared: str) -> str:
    # A VAE has no __call__ in mflux.
    methods = () if component == "vae" else (("__call__", list(draft.call) or ["*args"]),)
    methods += _CALLS.get(component, ())
    proven = is_proven(draft.forward)
    written = {method.name for method in draft.forward.methods} if proven else set()
    raising = [f"\n{signature(name, names)}{_to_port(draft, name)}" for name, names in methods if name not in written]
    return "".join([*raising, *(forward_source(draft.forward, draft.name, shared) if proven else [])])


def _import(module: str, name: str) -> str:
    line = f"from {module} import {name}"
    return f"{line}\n" if len(line) <= WIDTH else f"from {module} import (\n    {name},\n)\n"


def _to_port(draft: ClassDraft, name: str) -> str:
    method = "forward" if name == "__call__" else name
    state = draft.forward.state if draft.forward is not None else None
    place = state.where if state is not None and not state.is_proof else draft.file
    where = f", {place}" if place else ""
    once = name == "get_rotary_embeddings"  # the reference may lack a method for it
    method = "forward: everything that is the same in every step, such as rotary embeddings" if once else method
    message = f"Port {draft.reference}.{method}{where}"
    line = f"        raise NotImplementedError({text(message)})\n"
    if len(line) <= WIDTH + 1:
        return line
    indent = " " * 12
    fits = len(indent + text(message)) <= WIDTH
    *parts, last = [message] if fits else _folded(message, WIDTH - len(f'{indent}" "'))
    lines = "".join(f"{indent}{text(part)}\n" for part in (*(f"{part} " for part in parts), last))
    return f"        raise NotImplementedError(\n{lines}        )\n"


def _comment(words: str, indent: int) -> str:
    lead = f"{' ' * indent}# "
    return "".join(f"{lead}{line}\n" for line in _folded(words, WIDTH - len(lead)))


def _folded(words: str, width: int) -> list[str]:
    return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)


def _type(value: object) -> str:
    return "tuple[int, ...]" if isinstance(value, tuple) else type(value).__name__
