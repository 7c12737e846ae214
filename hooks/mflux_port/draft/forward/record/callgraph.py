"""Who called whom in the recorded runs: the targets of a call expression, and the calls of a function."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass

from mflux_port.draft.forward.record.groups import group_of
from mflux_port.draft.forward.record.init_arrays import PREFIX
from mflux_port.draft.forward.record.recorder import Recording, object_group
from mflux_port.draft.forward.record.sources import key_of

Place = tuple[str, str]  # a recorded function's key and group


@dataclass(frozen=True)
class Site:
    """A call expression in the function ``caller`` that ran another function; ``skip``: leading arguments that name its
    owner.
    """

    caller: Place
    node: ast.Call
    skip: int = 0


class CallGraph:
    def __init__(self, recording: Recording):
        self.recording = recording
        self.sites: dict[Place, list[Site]] = defaultdict(list)
        self._targets: dict[tuple, list[Place]] = {}
        for (key, group), facts in recording.facts.items():
            source = recording.sources[key]
            for node in ast.walk(source.tree):
                if isinstance(node, ast.Call) and (fact := facts.get(node.func.number)) is not None:
                    for target, skip in self._of(fact, group):
                        self.sites[target].append(Site((key, group), node, skip))
                        self._targets.setdefault((key, group, node.number), []).append(target)

    def targets(self, place: Place, node: ast.Call) -> list[Place]:
        """The recorded functions that a call expression ran."""
        return list(dict.fromkeys(self._targets.get((*place, node.number), ())))

    def alike(self, place: Place) -> set[Place]:
        """Groups of one function that a single call expression may run, and which therefore need one signature."""
        found, waiting = {place}, [place]
        while waiting:
            for site in self.sites[waiting.pop()]:
                for other in self.targets(site.caller, site.node):
                    if other not in found:
                        found.add(other)
                        waiting.append(other)
        return found

    def _of(self, fact, group: str) -> list[tuple[Place, int]]:
        found = []
        for value in fact.objects.values():
            place = self.place(value, group)
            if place is not None:
                found.append(place)
        return list(dict.fromkeys(found))

    def place(self, value, group: str) -> tuple[Place, int] | None:
        """The recorded function that calling ``value`` from ``group`` runs, and how many arguments name its owner."""
        from torch import nn

        if isinstance(value, nn.Module):
            return self._known(type(value).forward, group_of(value), 0)
        if "Processor" in type(value).__name__:
            return self._known(type(value).__call__, group, 1)
        owner = getattr(value, "__self__", None)
        if group.startswith(PREFIX) and hasattr(value, "__qualname__") and not isinstance(value, type):
            return self._known(value, group, 0)  # all calls while a module is built belong to its group
        if isinstance(owner, nn.Module):
            return self._known(value, group_of(owner), 0)
        if hasattr(value, "__qualname__") and not isinstance(value, type):
            if owner is not None and not isinstance(owner, type) and key_of(value) in self.recording.sources:
                return self._known(value, object_group(owner), 0)
            return self._known(value, group, 0)
        if callable(value) and not isinstance(value, type):
            return self._known(type(value).__call__, object_group(value), 0)
        return None

    def _known(self, function, group: str, skip: int) -> tuple[Place, int] | None:
        key = key_of(function)
        return ((key, group), skip) if (key, group) in self.recording.facts else None
