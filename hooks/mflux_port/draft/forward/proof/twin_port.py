"""The drafted port of a recorded model, written to a folder with what its replay reads."""

from __future__ import annotations

from pathlib import Path

from mflux_port.draft.forward.record.recorder import Recording
from mflux_port.draft.forward.writer.classes import Forward

PACKAGE, TOP = "twin_port", "TwinModel"


def wanted(forwards: dict[str, Forward]) -> dict[str, set[str]]:
    """What forward passes read from their modules, by group: their own methods, and those of others."""
    found = {group: set(forward.reads) for group, forward in forwards.items()}
    for forward in forwards.values():
        for group, name in forward.others:
            found.setdefault(group, set()).add(name)
    return found


def attach(tree, forwards: dict[str, Forward]) -> None:
    """Give every node of a tree the forward pass of its group."""
    for _, node in tree.walk():
        node.forward = forwards.get(node.group)


def write_port(folder: Path, forwards: dict[str, Forward], recording: Recording) -> list[str]:
    """Write the port of a recorded model into a folder. Returns the groups that have calls, children first."""
    from mflux_port.draft.tree.from_reference import tree_of
    from mflux_port.draft.write.class_source import module_files
    from mflux_port.draft.write.forward_text import functions_file
    from mflux_port.draft.write.group_into_classes import draft_classes

    tree = tree_of(recording.root, wanted(forwards))
    attach(tree, forwards)
    classes = draft_classes(tree, "Twin", (TOP, "model"), set())
    files = module_files(classes, PACKAGE, {}, "", "TwinFunctions")
    functions = functions_file(list(forwards.values()), "TwinFunctions")
    package = folder / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    for stem, text in (files | ({"functions": functions} if functions else {})).items():
        (package / f"{stem}.py").write_text(text, encoding="utf-8")
    # Children before their parents, as classes are drafted.
    order = [draft.forward.group for draft in classes if draft.forward is not None]
    return [group for group in dict.fromkeys([*order, *forwards]) if recording.calls.get(group)]


def keep_recording(folder: Path, forwards: dict, recording: Recording, order: list[str], skipped: tuple) -> None:
    """Write what a replay reads: the model, the calls of the groups in ``order``, the drafted methods' arguments."""
    import torch

    taken = {group: signatures(forward, recording) for group, forward in forwards.items()}
    kept = {"model": recording.root, "calls": {group: recording.calls[group] for group in order}, "order": order,
            "signatures": taken, "top": (f"{PACKAGE}.model", TOP), "skipped": skipped}  # fmt: skip
    with torch.no_grad():
        torch.save(kept, folder / "recording.pt")


def signatures(forward: Forward, recording: Recording) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """For each method: torch's parameters in order, those that the drafted method takes, and those
    of complex arrays.
    """
    found = {}
    for place, name in forward.entries.items():
        source = recording.sources[place[0]]
        arguments = source.parameters[int(source.is_method) :]
        facts = recording.facts[place]
        seen = {arg.arg: facts[arg.number].dtypes for arg in arguments if arg.number in facts}
        pairs = [arg for arg, dtypes in seen.items() if any(dtype.startswith("complex") for dtype in dtypes)]
        found[name] = ([arg.arg for arg in arguments], forward.signatures[name], pairs)
    return found
