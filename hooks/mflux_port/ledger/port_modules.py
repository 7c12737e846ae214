"""A port's weight definition, LoRA mapping and MLX modules, imported from its checkout.

MLX is lazy: no weight is allocated.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import SimpleNamespace

from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.ledger.shape_only_arrays import shape_only_weights
from mflux_port.port.port import Port


def use_checkout(checkout: Checkout) -> None:
    """Make ``import mflux`` use the checkout. Raises PortError when a package that mflux needs is not installed."""
    source = str(checkout.root / "src")
    if source not in sys.path:
        sys.path.insert(0, source)
    try:
        importlib.import_module("mflux.models.common.weights.mapping.weight_mapper")
    except ImportError as error:
        raise PortError(
            f"mflux cannot be imported here ({error}); run this in the checkout's environment, "
            "as `uv run --with <template> mflux-port …`"
        ) from None


def weight_definition(port: Port):
    """The port's ``<Class>WeightDefinition``."""
    module = f"{port.package}.weights.{port.model}_weight_definition"
    return _attribute(module, f"{port.class_name}WeightDefinition")


def lora_mapping(port: Port) -> list:
    """The port's LoRA targets. Raises PortError for a port without LoRA."""
    if not port.lora:
        raise PortError(f"{port.model} was made without LoRA; answer yes to `lora` with `copier update` first")
    mapping = _attribute(f"{port.package}.weights.{port.model}_lora_mapping", f"{port.class_name}LoRAMapping")
    return mapping.get_mapping()


def verify_key(port: Port, key: str | None) -> None:
    """Raise PortError when the port has no registry entry ``key``."""
    keys = [checkpoint.key for checkpoint in port.checkpoints]
    if key is not None and key not in keys:
        raise PortError(f"{port.model} has no checkpoint {key!r}; it has {', '.join(keys)}")


def build_modules(port: Port, key: str | None = None):
    """An object with the port's modules, sized for the registry entry ``key`` (default: the port's first).

    Their weights have shapes but no values.
    """
    verify_key(port, key)
    keys = [checkpoint.key for checkpoint in port.checkpoints]
    registry = _attribute("mflux.models.common.config.model_config", "AVAILABLE_MODELS")
    config = registry.get(key or keys[0])
    if config is None:
        raise PortError(f"mflux's registry has no {key or keys[0]}; run `mflux-port wire {port.model}` first")
    initializer = _attribute(f"{port.package}.{port.model}_initializer", f"{port.class_name}Initializer")
    holder = SimpleNamespace(model_config=config)
    accepted = len(inspect.signature(initializer._init_models).parameters)
    try:
        with shape_only_weights():
            initializer._init_models(*(holder, config)[:accepted])
    except Exception as error:  # noqa: BLE001 - the port's own code may raise anything
        raise PortError(
            f"the modules of {port.model} cannot be built ({type(error).__name__}: {error}); fix it"
        ) from None
    return holder


def module_of(holder, component):
    """The module that a component's weights go to. Raises PortError when the port does not make one."""
    module = getattr(holder, component.model_attr or component.name, None)
    if module is None:
        raise PortError(
            f"_init_models sets no attribute {component.model_attr or component.name}; give the model's attribute the component's name"
        )
    return module


def _attribute(module: str, name: str):
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, SyntaxError) as error:
        raise PortError(f"{module} cannot be imported ({type(error).__name__}: {error}); fix it") from None
    except AttributeError:
        raise PortError(f"{module} has no {name}; keep the name that was rendered") from None
