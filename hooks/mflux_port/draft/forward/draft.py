"""The forward passes of one component of a checkpoint: twin, recording, writing, proof."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from mflux_port.draft.forward.record.recorder import Recording
from mflux_port.draft.forward.writer.classes import Forward
from mflux_port.draft.pipeline.settings import NONE, Settings

Say = Callable[[str], None]


@dataclass
class ForwardDraft:
    """``forwards``: by group.

    ``reason`` says in one line why there are none. ``also``: what other files need, by group.
    """

    forwards: dict[str, Forward] = field(default_factory=dict)
    reason: str = ""
    also: dict[str, set[str]] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, set[str]] | None:
        """What the forward passes read from modules, by group."""
        from mflux_port.draft.forward.proof.twin_port import wanted

        if not self.forwards:
            return None
        found = wanted(self.forwards)
        return found | {group: found.get(group, set()) | names for group, names in self.also.items()}


def draft_forwards(
    component, name: str, say: Say = lambda line: None, trains: bool = True, settings: Settings = NONE
) -> ForwardDraft:
    """Write and prove the forward passes of a component's reference. Needs torch, MLX and the reference's library.

    ``name``: the port's name for it. ``trains``: the port has training, which may checkpoint gradients. Without a twin
    that runs, the draft has a reason and no forward pass.
    """
    missing = [
        package for package in ("torch", "mlx", component.library) if not importlib.util.find_spec(package or "?")
    ]
    if missing:
        return ForwardDraft({}, f"{' and '.join(missing)} is not installed, so no forward pass was drafted")
    if not component.config:
        return ForwardDraft({}, f"{component.folder}/config.json was not found, so no forward pass was drafted")
    from mflux_port.draft.forward.record.groups import group_of
    from mflux_port.draft.forward.twin.twin import make_twin

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        say(f"{name}: making a tiny twin of {component.class_name}")
        twin = make_twin(component, name, settings.tables)
        if not twin.runs:
            return ForwardDraft({}, twin.reason)
        changed = resized(component, twin.model)
        forwards = drafted(twin.model, twin.runs, changed, say, name, twin.rebuild, trains)
        return ForwardDraft(forwards, also={group_of(twin.model): set(settings.attributes)})


def drafted(
    model,
    runs: list[tuple[str, dict]],
    changed: set[tuple[str, str]] = frozenset(),
    say: Say = lambda line: None,
    name: str = "",
    rebuild: Callable | None = None,
    trains: bool = True,
) -> dict[str, Forward]:
    """The forward passes of a model that is built, recorded on ``runs``, each with its state."""
    from mflux_port.draft.forward.proof.verify import prove

    forwards, recording = written(model, runs, changed, say, name, rebuild, trains)
    say(f"{name}: replaying {len(forwards)} classes")
    prove(forwards, recording)
    return forwards


def written(
    model,
    runs: list[tuple[str, dict]],
    changed: set[tuple[str, str]],
    say: Say,
    name: str,
    rebuild: Callable | None,
    trains: bool = True,
) -> tuple[dict[str, Forward], Recording]:
    """The forward passes of a model, not proven yet, and the recording that they were written from."""
    from mflux_port.draft.forward.record.casts import idle_casts
    from mflux_port.draft.forward.record.groups import forget_groups
    from mflux_port.draft.forward.record.recorder import record
    from mflux_port.draft.forward.writer.classes import ClassWriter
    from mflux_port.draft.forward.writer.function import write_function
    from mflux_port.draft.forward.writer.project import Project

    forget_groups()
    say(f"{name}: recording {len(runs)} runs")
    recording = record(model, runs, rebuild)
    recording.idle_casts = idle_casts(recording, runs)
    given = {key for _, inputs in runs for key in inputs}
    return ClassWriter(Project(recording, given, changed, write_function, trains)).write(), recording


def resized(component, model) -> set[tuple[str, str]]:
    """The (group, attribute) pairs of the numbers that differ between the twin and the real model."""
    from mflux_port.draft.tree.from_reference import build

    real = build(component, component.config, "meta")
    if real is None:
        return set()
    ours, theirs = _numbers(model), _numbers(real)
    return {key for key, values in ours.items() if values != theirs.get(key, values)}


def _numbers(model) -> dict[tuple[str, str], set]:
    from mflux_port.draft.forward.record.groups import group_of
    from mflux_port.draft.forward.record.recorder import object_group

    config = getattr(model, "config", None)
    pairs = config.items() if hasattr(config, "items") else vars(config or object).items()
    owned = [(object_group(config), *pair) for pair in pairs]
    owned += [(group_of(module), *pair) for module in model.modules() for pair in vars(module).items()]
    found: dict[tuple[str, str], set] = {}
    for group, name, value in owned:
        parts = value if isinstance(value, (list, tuple)) else [value]
        if parts and all(type(part) in (int, float, str) for part in parts) and type(value) is not str:
            found.setdefault((group, name), set()).add(tuple(parts))
    return found
