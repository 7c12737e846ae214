"""Move functions that several drafted classes share into the port's one class of functions."""

from __future__ import annotations

import re


def share(forwards: dict) -> None:
    """Move static methods that have the same name and text in two or more classes out of them."""
    holders: dict[tuple[str, str], list] = {}
    for forward in forwards.values():
        for method in forward.methods:
            if method.is_static and "CLASS." not in method.text:
                holders.setdefault((method.name, method.text), []).append(forward)
    taken: set[str] = set()
    for (name, text), found in sorted(holders.items(), key=lambda one: one[0]):
        public = name.lstrip("_")
        if len(found) < 2 or public in taken:
            continue
        taken.add(public)
        body = re.sub(rf"\bdef {name}\b", f"def {public}", text.removeprefix("@staticmethod\n"))
        for forward in found:
            _move(forward, name, public, body)


def _move(forward, name: str, public: str, body: str) -> None:
    forward.methods = [method for method in forward.methods if not (method.is_static and method.name == name)]
    forward.shared[public] = body
    for method in forward.methods:
        method.text = re.sub(rf"\bCLASS\.{name}\b", f"SHARED.{public}", method.text)
    forward.initial = [re.sub(rf"\bCLASS\.{name}\b", f"SHARED.{public}", line) for line in forward.initial]
