"""A port's account as text: a line per component, then the findings, with similar names merged."""

from __future__ import annotations

from itertools import groupby

from mflux_port.checkpoint.keylist import collapse
from mflux_port.ledger.balance import Account, Finding

_LISTED = 30  # lines of names for one kind of finding


def format_accounts(accounts: list[Account], findings: list[Finding]) -> str:
    """Return the text. ``findings`` are those of the accounts and those about files."""
    lines = [f"{'component':<16}{'tensors':>9}{'parameters':>12}{'waived':>8}{'open':>6}", *map(_row, accounts)]
    order = sorted(findings, key=lambda finding: (not finding.fails, finding.component, finding.kind))
    for (fails, component, kind), group in groupby(order, lambda f: (f.fails, f.component, f.kind)):
        lines += _kind(fails, component, kind, list(group))
    if not any(finding.fails for finding in findings):
        lines += ["", "every tensor is used once, every parameter is set once"]
    return "\n".join(lines)


def _row(account: Account) -> str:
    count = sum(finding.fails for finding in account.findings)
    return f"{account.component:<16}{account.tensors:>9}{account.parameters:>12}{account.waived:>8}{count:>6}"


def _kind(fails: bool, component: str, kind: str, members: list[Finding]) -> list[str]:
    """The lines of the findings of one kind; a note is one line."""
    example = f"{'such as ' if len(members) > 1 else ''}{members[0].name}: {members[0].why}"
    if not fails:
        return [f"note {component}: {kind} ({len(members)}), {example}"]
    names = collapse(member.name for member in members)
    more = [f"  and {len(names) - _LISTED} more lines, which --json lists"] if len(names) > _LISTED else []
    listed = [f"  {name}" for name in names[:_LISTED]]
    return ["", f"FAIL {component}: {kind} ({len(members)})", *listed, *more, f"  {example}"]
