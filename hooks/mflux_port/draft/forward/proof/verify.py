"""Proves drafted forward passes: writes the tiny twin's own port, replays it in a process of its own, reads what came."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mflux_port.draft.forward.proof.states import NOT_RECORDED, RAISES, VERIFIED, State
from mflux_port.draft.forward.record.recorder import Recording
from mflux_port.draft.forward.writer.classes import Forward

_TIMEOUT = 300  # seconds for all replays of one model
_PACKAGE, _TOP = "twin_port", "TwinModel"


def prove(forwards: dict[str, Forward], recording: Recording) -> None:
    """Give every forward pass its state."""
    for forward in forwards.values():
        forward.state = State(VERIFIED)  # for the twin's port, in which everything is written
    with tempfile.TemporaryDirectory(prefix="mflux-port-twin-") as scratch:
        folder = Path(scratch)
        with _guarded(forwards):
            order = _write_port(folder, forwards, recording)
        _keep_recording(folder, forwards, recording, order, ())
        results = _replayed(folder, forwards, recording, order)
    for group, forward in forwards.items():
        forward.state = _state(forward, results.get(group))


@contextlib.contextmanager
def _guarded(forwards: dict[str, Forward]) -> Iterator[None]:
    # An __init__ that stops would keep every other class from its replay: here its class alone misses its arrays.
    before = {group: forward.initial for group, forward in forwards.items()}
    for forward in forwards.values():
        if forward.initial:
            lines = [f"    {line}" for line in forward.initial]
            forward.initial = ["try:", *lines, "except Exception as error:", "    self._initial_error = error"]
    yield
    for group, forward in forwards.items():
        forward.initial = before[group]


def wanted(forwards: dict[str, Forward]) -> dict[str, set[str]]:
    """By group, what forward passes read of its modules: their own methods', and those of others."""
    found = {group: set(forward.reads) for group, forward in forwards.items()}
    for forward in forwards.values():
        for group, name in forward.others:
            found.setdefault(group, set()).add(name)
    return found


def attach(tree, forwards: dict[str, Forward]) -> None:
    """Give every node of a tree the forward pass of its group."""
    for _, node in tree.walk():
        node.forward = forwards.get(node.group)


def _write_port(folder: Path, forwards: dict[str, Forward], recording: Recording) -> list[str]:
    from mflux_port.draft.tree.from_reference import tree_of
    from mflux_port.draft.write.class_source import module_files
    from mflux_port.draft.write.forward_text import functions_file
    from mflux_port.draft.write.group_into_classes import draft_classes

    tree = tree_of(recording.root, wanted(forwards))
    attach(tree, forwards)
    classes = draft_classes(tree, "Twin", (_TOP, "model"), set())
    files = module_files(classes, _PACKAGE, {}, "", "TwinFunctions")
    functions = functions_file(list(forwards.values()), "TwinFunctions")
    package = folder / _PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    for stem, text in (files | ({"functions": functions} if functions else {})).items():
        (package / f"{stem}.py").write_text(text, encoding="utf-8")
    # Children before their parents, as classes are drafted.
    order = [draft.forward.group for draft in classes if draft.forward is not None]
    return [group for group in dict.fromkeys([*order, *forwards]) if recording.calls.get(group)]


def _keep_recording(folder: Path, forwards: dict, recording: Recording, order: list[str], skipped: tuple) -> None:
    import torch

    signatures = {group: _signatures(forward, recording) for group, forward in forwards.items()}
    kept = {"model": recording.root, "calls": {group: recording.calls[group] for group in order}, "order": order,
            "signatures": signatures, "top": (f"{_PACKAGE}.model", _TOP), "skipped": skipped}  # fmt: skip
    with torch.no_grad():
        torch.save(kept, folder / "recording.pt")


def _signatures(forward: Forward, recording: Recording) -> dict[str, tuple[list[str], list[str], list[str]]]:
    # By method: torch's parameters in order, those that the drafted method takes, those of complex arrays.
    found = {}
    for place, name in forward.entries.items():
        source = recording.sources[place[0]]
        arguments = source.parameters[int(source.is_method) :]
        facts = recording.facts[place]
        seen = {arg.arg: facts[arg.number].dtypes for arg in arguments if arg.number in facts}
        pairs = [arg for arg, dtypes in seen.items() if any(dtype.startswith("complex") for dtype in dtypes)]
        found[name] = ([arg.arg for arg in arguments], forward.signatures[name], pairs)
    return found


def _replayed(folder: Path, forwards: dict, recording: Recording, order: list[str]) -> dict[str, dict]:
    results: dict[str, dict] = {}
    skipped: list[str] = []
    for _ in range(8):  # so many classes may end the interpreter
        lines, error = _run(folder)
        started = [line["starts"] for line in lines if "starts" in line]
        results |= {line["group"]: line for line in lines if "group" in line}
        if error is None:
            break
        stuck = next((group for group in started if group not in results), None)
        if stuck is None:
            return results | {
                group: {"kind": RAISES, "reason": error, "calls": 0} for group in order if group not in results
            }
        results[stuck] = {"kind": RAISES, "reason": error, "calls": 0}
        skipped.append(stuck)
        _keep_recording(folder, forwards, recording, order, tuple(skipped))
    return results


def _run(folder: Path) -> tuple[list[dict], str | None]:
    hooks = Path(__file__).resolve().parents[4]
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(hooks), *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "mflux_port.draft.forward.proof.replay", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        return _parsed((error.stdout or b"").decode(errors="replace")), f"no answer in {_TIMEOUT} seconds"
    said = [line for line in done.stderr.splitlines() if line.strip()]
    error = (
        None if done.returncode == 0 else f"the replay ended with {done.returncode}: {said[-1] if said else ''}"[:300]
    )
    return _parsed(done.stdout), error


def _parsed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _state(forward: Forward, result: dict | None) -> State:
    if result is None:
        where, source, reason = forward.problems[0] if forward.problems else (forward.where, "", "")
        return State(RAISES if forward.problems else NOT_RECORDED, None, None, where, source, reason)
    if result["kind"] == VERIFIED:
        return State(VERIFIED, result["error"], result["limit"], forward.where, calls=result["calls"])
    where, source, reason = forward.where, "", result["reason"]
    for place, line, why in forward.problems:
        # A raise of the draft names its line; a construct that is not written may also leave names behind that are missing.
        if f"{place}: {why}" in result["reason"] or "NotImplementedError" not in result["reason"] and not source:
            where, source, reason = place, line, why if result["kind"] == RAISES else reason
    return State(result["kind"], result.get("error"), result.get("limit"), where, source, reason, result["calls"])
