"""The action that proves a stage: record the reference, compare, find the module, change the code."""

from __future__ import annotations

import re
import shlex

from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.evidence import BFLOAT16
from mflux_port.guide.action import Action
from mflux_port.guide.port_status import PortStatus

FIRST_LOOK = "96x64"  # fast, and width and height differ; only 512x512 or larger is evidence
SMALL = ("lora", "training")  # run_reference.py records these at a small size by itself
RECORDING = "artifacts/reference.safetensors"
_PASSES = ("pass", "waived")


def record(status: PortStatus, flags: str = "", reason: str = "") -> Action:
    """Run the reference: on the tiny twin if there is one, else on the checkpoint."""
    given = _model(status)
    size = f" --size {FIRST_LOOK}" if status.twin and "--size" not in flags else ""
    why = reason or "the reference runs once and records its noise, its latents and every stage"
    return Action(f"uv run {status.folder}/run_reference.py{given}{size}{flags}", why)


def compare_all(status: PortStatus) -> Action:
    """Compare every stage."""
    return Action(
        f"uv run python {status.folder}/run_mflux.py", "mflux runs on the reference's own inputs, stage by stage"
    )


def prove(status: PortStatus, stage: str) -> Action:
    """The action for the first stage that is not proven."""
    box = status.stages.get(stage)
    if box is None:
        reason = f"the line of {stage} is missing: `- [ ] Done <!-- evidence: {stage} -->`"
        return Action(f"mflux-port status {status.model}", reason, f"{status.folder}/PORTING.md")
    reason = f"{stage} {box.problem}"
    command = box.commands(status.model)
    if not status.has(RECORDING) and "run_reference.py" not in command:
        return record(status)
    found = _last(status, stage)
    if found and found["status"] not in _PASSES:
        return _change(status, stage, found)
    if found and box.failed_in:
        return record(status, box.failed_in, f"{reason}; a run in another setting does not show that this is fixed")
    if "run_reference.py" in command:
        return _evidence(status, command, reason)
    return Action(command, reason)


def _evidence(status: PortStatus, command: str, reason: str) -> Action:
    """Run all stages in a setting that counts: they share the recording that such a run needs."""
    reference, judge = command.split(" && ")
    flags = re.sub(r" --model \S+", "", reference.partition("run_reference.py")[2])
    judge = re.sub(r" --stage \w+", "", judge)
    return Action(f"uv run {status.folder}/run_reference.py{_model(status)}{flags} && {judge}", reason)


def prove_again(status: PortStatus, stages: list[str], problem: str) -> Action:
    """Rerun the stages whose proof is for other code."""
    if not status.has(RECORDING):
        return record(status)
    flags = " --dtype bfloat16" if stages == [BFLOAT16] else ""
    return Action(f"uv run python {status.folder}/run_mflux.py{flags}", f"{stages[0]}: {problem}")


def prove_claim(status: PortStatus, claim: str) -> Action:
    """Record and judge a claim besides text-to-image, from the checkpoint of the stages if it has what is claimed."""
    box, same = status.stages[claim], evidence.shares_checkpoint(status.package, claim)
    given = _model(status) if same else ""
    size = f" --size {FIRST_LOOK}" if status.twin and same and claim not in SMALL else ""
    command = box.commands(status.model, f"{given}{size}")
    if claim == "quantized" and status.has(RECORDING):
        command = command.partition(" && ")[2]  # it is judged on the recording of the stages
    return Action(command, f"{claim} {box.problem}")


def _last(status: PortStatus, stage: str) -> dict | None:
    """The stage in the last comparison, if it was made with the current code."""
    found = status.comparison or {"stages": [], "dtype": ""}
    if found["dtype"] != (BFLOAT16 if stage == BFLOAT16 else "float32"):
        return None
    results = found["stages"]
    if stage == BFLOAT16:  # one box covers all stages; take the reason of the first that fails
        return next((one for one in results if one["status"] not in _PASSES), None)
    return next((one for one in results if one["stage"] == stage), None)


def _change(status: PortStatus, stage: str, found: dict) -> Action:
    comparison = status.comparison
    if comparison["bisect"] and found["status"] == "FAIL" and not _is_explained(comparison["answer"], stage):
        modules = f"uv run {status.folder}/run_reference.py --modules{_model(status)}"
        command = f"{modules} && uv run python {status.folder}/run_mflux.py --bisect"
        return Action(command, f"{stage} fails; a recording of the modules shows which one is wrong")
    reason = comparison["answer"] or f"{stage} {found['status']}: {found['note']}"
    if comparison["answer"] and not comparison["answer"].startswith(f"{stage}:"):
        reason = f"{stage} {found['status']} {found['note']}; look at {comparison['answer']}"
    return Action(status.stages[stage].commands(status.model), reason, status.port.folder)


def _is_explained(answer: str, stage: str) -> bool:
    """Whether the comparison found the cause of a stage's failure without looking at its modules."""
    return answer.startswith(f"{stage}:") and not answer.endswith("no known pattern")


def _model(status: PortStatus) -> str:
    if status.twin:
        return f" --model {shlex.quote(status.twin)}"
    return status.local_model
