"""A class whose forward pass is not proven raises when it is called, and says where the reference is."""

from __future__ import annotations

import signal
import subprocess

import pytest
from mflux_port.draft.forward.proof import verify
from mflux_port.draft.forward.proof.result import BLOCKED, DIFFERS, RAISES, VERIFIED, State
from mflux_port.draft.forward.proof.verify import blocked
from mflux_port.draft.forward.writer.classes import Forward, Method
from mflux_port.draft.tree.nodes import MODULE, Node
from mflux_port.draft.write.class_source import module_files
from mflux_port.draft.write.group_into_classes import draft_classes

WHERE = "diffusers/models/nova.py:12"


def drafted(kind: str) -> str:
    forward = Forward(
        "nova.Block()", [Method("__call__", "def __call__(self, x: mx.array) -> mx.array:\n    return x", False)]
    )
    forward.state = State(kind, 1e-7, 1e-5, WHERE, "x = x", "a reason")
    tree = Node(
        MODULE, "Block", "diffusers/models/nova.py", parameters={"weight": ("4",)}, call=("x",), forward=forward
    )
    classes = draft_classes(tree, "Nova", ("NovaTransformer", "transformer"), set())
    return module_files(classes, "mflux.models.nova.model", {}, "", "NovaFunctions")["transformer"]


@pytest.mark.parametrize("kind", [DIFFERS, RAISES, BLOCKED])
def test_unproven_class_raises_and_names_file_and_line(kind):
    text = drafted(kind)
    assert f'raise NotImplementedError("Port Block.forward, {WHERE}")' in text and "return x" not in text


def test_replay_is_limited_by_cpu_time_and_not_by_wall_time(monkeypatch, tmp_path):
    ended = subprocess.CompletedProcess([], -signal.SIGXCPU, stdout='{"starts": "Block"}\n', stderr="")
    limits = {}
    monkeypatch.setattr(verify.subprocess, "run", lambda command, **options: limits.update(options) or ended)
    assert verify._run(tmp_path) == ([{"starts": "Block"}], "no answer after 300 seconds of CPU time")
    assert limits["timeout"] >= 10 * verify._COMPUTING


def test_proven_class_is_written():
    text = drafted(VERIFIED)
    assert "        return x" in text and "NotImplementedError" not in text


def test_the_licence_of_the_reference_is_named():
    tree = Node(MODULE, "Block", "pytest/models/nova.py", parameters={"weight": ("4",)}, call=("x",))
    classes = draft_classes(tree, "Nova", ("NovaTransformer", "transformer"), set())
    text = module_files(classes, "mflux.models.nova.model", {}, "transformer")["transformer"]
    assert "# Reference: Block in pytest/models/nova.py (MIT)\n" in text


def test_class_is_blocked_by_the_class_in_which_its_replay_stops():
    why = "torch's fft is not in the table"
    child = Forward("nova.Child()", problems=[(WHERE, "torch.fft.fft(x)", why)], state=State(RAISES, reason=why))
    stopped = State(RAISES, where="nova.py:3", reason=f"NotImplementedError: {WHERE}: {why}", calls=1)
    parent = Forward("nova.Parent()", state=stopped)
    state = blocked(parent, {"nova.Child()": child, "nova.Parent()": parent})
    assert state.kind == BLOCKED and state.reason.startswith("blocked by Child: ") and state.where == "nova.py:3"
    assert blocked(child, {"nova.Child()": child, "nova.Parent()": parent}) is None
