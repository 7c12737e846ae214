"""Group modules that share a forward pass: those of one class, one attention processor and one build."""

from __future__ import annotations

_KNOWN: dict[int, tuple] = {}


def group_of(module) -> str:
    """The name of a module's group. It differs for modules with other children, or without an optional parameter."""
    found = _KNOWN.get(id(module))
    if found is None or found[0] is not module:
        _KNOWN[id(module)] = found = (module, _name(module))
    return found[1]


def forget_groups() -> None:
    """Clear the cache of modules that were looked up."""
    _KNOWN.clear()


def processor_of(module):
    """The object that computes a diffusers attention layer, or None."""
    from torch import nn

    processor = module.__dict__.get("processor")
    return None if processor is None or isinstance(processor, nn.Module) else processor


def is_torch_layer(module) -> bool:
    """Whether a module is one of torch's own classes."""
    return type(module).__module__.startswith("torch.nn.")


def _name(module) -> str:
    from torch import nn

    cls = type(module)
    if is_torch_layer(module) and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        return f"{cls.__module__}.{cls.__qualname__}"
    processor = processor_of(module)
    by = f"[{type(processor).__name__}]" if processor is not None else ""
    parts = [f"{name}{_kinds(child)}" for name, child in sorted(module._modules.items()) if child is not None]
    parts += [name for name, value in sorted(module._parameters.items()) if value is not None]
    return f"{cls.__module__}.{cls.__qualname__}{by}({', '.join(parts)})"


def _kinds(child) -> str:
    from torch import nn

    if isinstance(child, nn.Sequential):
        return f":[{' '.join(type(part).__name__ + _kinds(part) for part in child)}]"
    if isinstance(child, nn.ModuleList):
        return f":{{{' '.join(sorted({type(part).__name__ for part in child}))}}}"
    return f":{type(child).__name__}"
