"""Proves drafted forward passes: writes the tiny twin's port, replays it in a separate process, reads the result."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mflux_port.draft.forward.proof.result import BLOCKED, NOT_RECORDED, RAISES, VERIFIED, State
from mflux_port.draft.forward.proof.twin_port import keep_recording, write_port
from mflux_port.draft.forward.record.recorder import Recording
from mflux_port.draft.forward.writer.branches import NOT_REACHED
from mflux_port.draft.forward.writer.classes import Forward

# Seconds for all replays of one model: CPU time, and the total, which grows on a busy machine.
_COMPUTING = 300
_TIMEOUT = 3600


def prove(forwards: dict[str, Forward], recording: Recording) -> None:
    """Give every forward pass its state."""
    for forward in forwards.values():
        forward.state = State(VERIFIED)  # for the twin's port, which has all forward passes
    with tempfile.TemporaryDirectory(prefix="mflux-port-twin-") as scratch:
        folder = Path(scratch)
        with _guarded(forwards):
            order = write_port(folder, forwards, recording)
        keep_recording(folder, forwards, recording, order, ())
        results = _replayed(folder, forwards, recording, order)
    for group, forward in forwards.items():
        forward.state = _state(forward, results.get(group))
    for forward in forwards.values():
        forward.state = blocked(forward, forwards) or forward.state


@contextlib.contextmanager
def _guarded(forwards: dict[str, Forward]) -> Iterator[None]:
    # An __init__ that raises would stop the replay of every class: here only its own class lacks its arrays.
    before = {group: forward.initial for group, forward in forwards.items()}
    for forward in forwards.values():
        if forward.initial:
            lines = [f"    {line}" for line in forward.initial]
            forward.initial = ["try:", *lines, "except Exception as error:", "    self._initial_error = error"]
    yield
    for group, forward in forwards.items():
        forward.initial = before[group]


def _replayed(folder: Path, forwards: dict, recording: Recording, order: list[str]) -> dict[str, dict]:
    results: dict[str, dict] = {}
    skipped: list[str] = []
    for _ in range(8):  # this many classes may crash the interpreter
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
        keep_recording(folder, forwards, recording, order, tuple(skipped))
    return results


def _run(folder: Path) -> tuple[list[dict], str | None]:
    hooks = Path(__file__).resolve().parents[4]
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(hooks), *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "mflux_port.draft.forward.proof.replay", str(folder), str(_COMPUTING)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        return _parsed((error.stdout or b"").decode(errors="replace")), f"no answer in {_TIMEOUT} seconds"
    if done.returncode == -signal.SIGXCPU:
        return _parsed(done.stdout), f"no answer after {_COMPUTING} seconds of CPU time"
    said = [line for line in done.stderr.splitlines() if line.strip()]
    error = (
        None if done.returncode == 0 else f"the replay ended with {done.returncode}: {said[-1] if said else ''}"[:300]
    )
    return _parsed(done.stdout), error


def _parsed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def blocked(forward: Forward, forwards: dict[str, Forward]) -> State | None:
    """The state of a class whose replay stopped in an unwritten class, None for any other."""
    state = forward.state
    if state.kind != RAISES or any(why in state.reason for _, _, why in forward.problems):
        return None
    for group, other in forwards.items():
        open_end = other is not forward and other.state.kind in (RAISES, BLOCKED)
        if open_end and any(f"{place}: {why}" in state.reason for place, _, why in other.problems):
            cls = group.split("(")[0].rsplit(".", 1)[-1]
            return State(BLOCKED, None, None, state.where, "", f"blocked by {cls}: {state.reason}", state.calls)
    return None


def _state(forward: Forward, result: dict | None) -> State:
    if result is None:
        where, source, reason = forward.problems[0] if forward.problems else (forward.where, "", "")
        return State(RAISES if forward.problems else NOT_RECORDED, None, None, where, source, reason)
    if result["kind"] == VERIFIED:
        return State(VERIFIED, result["error"], result["limit"], forward.where, calls=result["calls"])
    where, source, reason = forward.where, "", result["reason"]
    for place, line, why in forward.problems:
        # An exception that the draft raises names its line; a construct that is not written may also leave names
        # undefined.
        may_explain = "NotImplementedError" not in result["reason"] and not source and not why.startswith(NOT_REACHED)
        if f"{place}: {why}" in result["reason"] or may_explain:
            where, source, reason = place, line, why if result["kind"] == RAISES else reason
    return State(result["kind"], result.get("error"), result.get("limit"), where, source, reason, result["calls"])
