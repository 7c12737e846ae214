"""Reasons why a row does not apply to a port. Each function returns the reason, or None when the row applies."""

from __future__ import annotations

from mflux_port.checks.engine.checkout_facts import CAPABILITIES
from mflux_port.checks.engine.package import Package


def generates(package: Package) -> str | None:
    return None if package.generates else "no command of this package generates images from a prompt"


def takes_lora(package: Package) -> str | None:
    asked = package.port is not None and package.port.lora
    return None if asked or package.takes_lora or package.lora_mappings else "the port does not load LoRAs"


def takes_image(package: Package) -> str | None:
    return None if package.takes_image else "no command of the port accepts a start image"


def edits(package: Package) -> str | None:
    return None if package.edits else "the port has no editing command"


def trains(package: Package) -> str | None:
    return None if package.trains else "mflux-train does not support the port"


def has_entries(package: Package) -> str | None:
    return None if package.keys or package.generates else "no registry entry belongs to this package"


def has_tests(package: Package) -> str | None:
    if package.port or package.facts.has_tests:
        return generates(package)
    return "this checkout is an unpacked release without tests"


def has_answers(package: Package) -> str | None:
    return None if package.port else "this port was not made with the template"


def has_capabilities(package: Package) -> str | None:
    """mflux 0.19 and later list what each command supports by reading its parser."""
    if package.facts.exists(CAPABILITIES):
        return generates(package)
    return "this mflux has no mflux-capabilities"


def in_git(package: Package) -> str | None:
    return None if package.facts.git("rev-parse", "HEAD") else "the checkout is not a git work tree"


def is_open(package: Package) -> str | None:
    """The port is in progress: it still has its porting folder."""
    if package.facts.exists(f"porting/{package.model}"):
        return None
    return "the port has no porting folder (finished, or not made with the template)"
