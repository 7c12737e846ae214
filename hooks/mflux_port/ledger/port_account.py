"""The full account of a port: every component of its weight definition, and the files that it downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.checkpoint.keylist import Snapshot
from mflux_port.errors import PortError
from mflux_port.ledger.balance import Account, Finding, account
from mflux_port.ledger.checkpoint_files import account_files
from mflux_port.ledger.port_modules import build_modules, module_of, weight_definition
from mflux_port.ledger.reused_modules import known_waivers
from mflux_port.ledger.waivers import WAIVERS, Waivers, read_waivers
from mflux_port.port.port import Port


@dataclass(frozen=True)
class PortAccount:
    """The accounts of the components, and the findings about files."""

    components: list[Account]
    files: list[Finding]

    @property
    def findings(self) -> list[Finding]:
        return [finding for account in self.components for finding in account.findings] + self.files

    @property
    def open(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.fails]


def account_port(
    checkout: Checkout, port: Port, taken: Snapshot, root: Path | None, key: str | None, only: list[str] | None
) -> PortAccount:
    """Balance the port's components, or those named in ``only``.

    ``root``: the checkpoint's folder, None if only the key list exists. ``key``: the registry entry that gives the
    sizes. Raises PortError for a component that the port does not have.
    """
    definition = weight_definition(port)
    components = _wanted(definition.get_components(), port, only)
    waivers = read_waivers(checkout.root / WAIVERS.format(model=port.model))
    holder = build_modules(port, key)
    accounts, files = [], [] if only else account_files(definition, taken, waivers)
    for component in (_with_layout(component, root) for component in components):
        tensors = taken.of(component.hf_subdir, component.name)
        if tensors is None:
            files.append(Finding("files", "no weights", component.name, f"{taken.where} has no {component.hf_subdir}"))
            continue
        waived = waivers.get(component.name, Waivers())
        waived.known = known_waivers(port, component.name)
        metadata = taken.metadata_of(component.hf_subdir, component.name)
        accounts.append(account(component, module_of(holder, component), tensors, waived, metadata))
    return PortAccount(accounts, files)


def _wanted(components: list, port: Port, only: list[str] | None) -> list:
    unknown = set(only or ()) - {component.name for component in components}
    if unknown:
        raise PortError(f"{port.model} has no component {min(unknown)}; it has {', '.join(c.name for c in components)}")
    return [one for one in components if one.download_url is None and (not only or one.name in only)]


def _with_layout(component, root: Path | None):
    select = getattr(component, "variant_selector", None)  # since mflux 0.19
    if select is None:
        return component
    if root is None:
        raise PortError(f"{component.name} picks its layout from the files; name the folder with --checkpoint")
    return select(root)
