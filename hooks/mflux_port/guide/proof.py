"""The action that proves a stage: record the reference, compare, find the module, change the code."""

from __future__ import annotations

import re
import shlex

from mflux_port.checks.engine.evidence import BFLOAT16
from mflux_port.guide.action import Action
from mflux_port.guide.life import Life

FIRST_LOOK = "96x64"  # fast, and width and height differ; evidence counts from 512x512 on
RECORDING = "artifacts/reference.safetensors"
_PASSES = ("pass", "waived")


def record(life: Life, flags: str = "", reason: str = "") -> Action:
    """Run the reference: on the tiny twin if there is one, else on the checkpoint."""
    given = _model(life)
    size = f" --size {FIRST_LOOK}" if life.twin and "--size" not in flags else ""
    why = reason or "the reference runs once and records its noise, its latents and every stage"
    return Action(f"uv run {life.folder}/run_reference.py{given}{size}{flags}", why)


def compare_all(life: Life) -> Action:
    """Compare every stage."""
    return Action(
        f"uv run python {life.folder}/run_mflux.py", "mflux runs on the reference's own inputs, stage by stage"
    )


def prove(life: Life, stage: str) -> Action:
    """The action for the first stage that is not proven."""
    box = life.stages.get(stage)
    if box is None:
        reason = f"the line of {stage} is missing: `- [ ] Done <!-- evidence: {stage} -->`"
        return Action(f"mflux-port status {life.model}", reason, f"{life.folder}/PORTING.md")
    reason = f"{stage} {box.problem}"
    command = box.commands(life.model)
    if not life.has(RECORDING) and "run_reference.py" not in command:
        return record(life)
    found = _last(life, stage)
    if found and found["status"] not in _PASSES:
        return _change(life, stage, found)
    if found and box.failed_in:
        return record(life, box.failed_in, f"{reason}; a run in another setting does not show that this is fixed")
    if "run_reference.py" in command:
        return _evidence(life, command, reason)
    return Action(command, reason)


def _evidence(life: Life, command: str, reason: str) -> Action:
    """Run all stages in a setting that counts: they share the recording that such a run needs."""
    reference, judge = command.split(" && ")
    flags = re.sub(r" --model \S+", "", reference.partition("run_reference.py")[2])
    judge = re.sub(r" --stage \w+", "", judge)
    return Action(f"uv run {life.folder}/run_reference.py{_model(life)}{flags} && {judge}", reason)


def prove_again(life: Life, stages: list[str], problem: str) -> Action:
    """Rerun the stages whose proof is for other code."""
    if not life.has(RECORDING):
        return record(life)
    flags = " --dtype bfloat16" if stages == [BFLOAT16] else ""
    return Action(f"uv run python {life.folder}/run_mflux.py{flags}", f"{stages[0]}: {problem}")


def _last(life: Life, stage: str) -> dict | None:
    """The stage in the last comparison, if it was made with the current code."""
    found = life.comparison or {"stages": [], "dtype": ""}
    if found["dtype"] != (BFLOAT16 if stage == BFLOAT16 else "float32"):
        return None
    results = found["stages"]
    if stage == BFLOAT16:  # one box covers all stages; take the reason of the first that fails
        return next((one for one in results if one["status"] not in _PASSES), None)
    return next((one for one in results if one["stage"] == stage), None)


def _change(life: Life, stage: str, found: dict) -> Action:
    comparison = life.comparison
    if comparison["bisect"] and found["status"] == "FAIL" and not _is_explained(comparison["answer"], stage):
        modules = f"uv run {life.folder}/run_reference.py --modules{_model(life)}"
        command = f"{modules} && uv run python {life.folder}/run_mflux.py --bisect"
        return Action(command, f"{stage} fails; a recording of the modules shows which one is wrong")
    reason = comparison["answer"] or f"{stage} {found['status']}: {found['note']}"
    if comparison["answer"] and not comparison["answer"].startswith(f"{stage}:"):
        reason = f"{stage} {found['status']} {found['note']}; look at {comparison['answer']}"
    return Action(life.stages[stage].commands(life.model), reason, life.port.folder)


def _is_explained(answer: str, stage: str) -> bool:
    """Whether the comparison found the cause of a stage's failure without looking at its modules."""
    return answer.startswith(f"{stage}:") and not answer.endswith("no known pattern")


def _model(life: Life) -> str:
    if life.twin:
        return f" --model {shlex.quote(life.twin)}"
    return life.local_model
