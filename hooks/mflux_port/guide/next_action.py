"""Find the one next action of a port. Each function looks at one thing, in the order of the work.

First come actions that a command can do alone, up to the comparison with the reference; then those for a person.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from mflux_port import __version__
from mflux_port.checkout.lock import under_way
from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.changes import missing_milestones
from mflux_port.checks.engine.rule import FAIL, NEEDS_YOU, PASS
from mflux_port.checks.progress import open_surfaces
from mflux_port.draft.glue.tiny_size_names import other_names
from mflux_port.draft.write.unresolved import UNRESOLVED, unresolved_entries
from mflux_port.guide import prove_stage
from mflux_port.guide.action import Action, commit
from mflux_port.guide.answers import ANSWERS_FILE, checkpoint_of, copy_has_begun, read_answers
from mflux_port.guide.port_status import PortStatus
from mflux_port.template.project import address
from mflux_port.update.port_state import Conflict, version_of
from mflux_port.update.tracked import ignored_files, ignored_line
from mflux_port.update.tree import WAY_BACK

_OWN = version_of(f"v{__version__}")


def next_action(status: PortStatus) -> Action:
    """The first action that a function returns. There is always one while the port has its porting folder."""
    return next(action for question in QUESTIONS if (action := question(status)))


def resolve(conflict: Conflict) -> Action:
    """The action for a conflict that an update or a merge left."""
    if conflict.file.endswith(".rej"):
        reason = "an update could not apply this part; write it into the file beside it"
        return Action(f"rm {conflict.file}", reason, conflict.file.removesuffix(".rej"))
    return Action(f"git add -- {conflict.file}", f"line {conflict.line} begins a conflict", conflict.file)


def _interrupted_update(status: PortStatus) -> Action | None:
    note = under_way(status.root)
    return Action(WAY_BACK, f"an update of {note['model']} was interrupted") if note else None


def _interrupted_copy(status: PortStatus) -> Action | None:
    file = status.root / ANSWERS_FILE
    place = checkpoint_of(file)
    if not (place and copy_has_begun(file) and read_answers(file).get("model") == status.model):
        return None
    return Action(f"mflux-port start {shlex.quote(place)}", "the copy was interrupted; start completes it")


def _conflicts(status: PortStatus) -> Action | None:
    return resolve(status.state.conflicts[0]) if status.state.conflicts else None


def _wiring(status: PortStatus) -> Action | None:
    surfaces = ", ".join(open_surfaces(status.package))
    if not surfaces:
        return None
    reason = f"the shared files lack the port's lines ({surfaces})"
    version = status.state.version
    # Lines that another version of the template wrote are updated, not fixed by hand.
    if version is None or version == _OWN:
        return Action(f"mflux-port wire {status.model}", reason)
    if version < _OWN:
        return _from_a_clean_tree(status, f"{reason}, and the template is newer than the port")
    newer = address(status.port.template, status.port.template_commit) or "<template>"
    needed = f"the port needs mflux-port {status.state.template_version} or later: this one is {__version__}"
    return Action(f"uvx --from {newer} mflux-port status {status.model}", needed)


def _ignored(status: PortStatus) -> Action | None:
    if not status.state.ignored:
        return None
    said = ignored_line(status.model, ignored_files(status.root, status.model))
    what, _, command = said.partition("; add them with ")
    return Action(command.strip("`"), what)


def _level(status: PortStatus) -> Action | None:
    if status.state.level_is_current or status.state.version is None:
        return None
    levels = f"the port has API level {status.state.api_level}, the checkout has {status.state.checkout_level}"
    return _from_a_clean_tree(status, levels)


def _from_a_clean_tree(status: PortStatus, reason: str) -> Action:
    if status.changes:
        return commit("Before the update", f"{reason}; an update needs a clean tree")
    return Action(f"mflux-port update {status.model}", reason)


def _undrafted(status: PortStatus) -> bool:
    return not (status.key_list or status.was_compared)


def _twin(status: PortStatus) -> Action | None:
    if not _undrafted(status) or status.twin or status.has("artifacts/reference.safetensors"):
        return None
    reason = "a tiny twin of the checkpoint runs on any machine, and the draft uses it"
    return Action(f"uv run {status.folder}/make_tiny_checkpoint.py{status.local_model}", reason)


def _draft(status: PortStatus) -> Action | None:
    if not _undrafted(status):
        return None
    tool = status.tool.replace("uv run", "uv run --with diffusers", 1)
    pipeline = f" --pipeline {shlex.quote(status.twin)}" if status.twin else ""
    command = f"{tool} draft {status.model} --checkpoint {shlex.quote(status.checkpoint)}{pipeline}"
    return Action(command, "the modules and the weight mapping are the template's own")


def _ledger(status: PortStatus) -> Action | None:
    if status.accounted or status.ledger:
        return None
    return Action(_ledger_command(status), "every tensor of the checkpoint and every parameter must be accounted for")


def _ledger_command(status: PortStatus) -> str:
    given = "" if status.key_list else f" --checkpoint {shlex.quote(status.checkpoint)}"
    return f"{status.tool} ledger {status.model}{given}"


def _first_comparison(status: PortStatus) -> Action | None:
    # This comes before a person changes anything, so that all findings are known.
    if status.was_compared or not status.open_stages or status.comparison:
        return None
    return prove_stage.compare_all(status) if status.has(prove_stage.RECORDING) else prove_stage.record(status)


def _unaccounted(status: PortStatus) -> Action | None:
    if status.accounted or not status.ledger or status.ledger["passed"]:
        return None
    found = status.ledger["open"]
    reason = f"{len(found)} open in the ledger, first: {found[0]}; map it, or waive it in {status.folder}/waivers.yml"
    return Action(_ledger_command(status), reason, f"{status.port.folder}/weights/{status.model}_weight_mapping.py")


def _undecided(status: PortStatus) -> Action | None:
    name = UNRESOLVED.format(model=status.model)
    entries = unresolved_entries(status.root / name)
    if not entries:
        return None
    first = entries[0]
    options = ", ".join(map(str, first.get("candidates") or ()))
    choice = f" (candidates: {options})" if options else ""
    reason = (
        f"{len(entries)} undecided, first: {first['component']} {first.get('name', '')}: {first.get('why', '')}{choice}"
    )
    return Action(
        f"mflux-port status {status.model}", f"{reason}; decide it in {status.port.folder}, then delete its entry", name
    )


def _tiny_sizes(status: PortStatus) -> Action | None:
    name = f"{status.port.folder}/model/{status.model}_transformer/transformer.py"
    other = other_names(status.checkout, status.port, {name: status.facts.text(name)}) if status.key_list else {}
    if not other:
        return None
    takes = ", ".join(other["takes"]) or "nothing else"
    reason = f"it names {', '.join(other['says'])}; the transformer takes {takes} instead"
    return Action(f"uv run python -m pytest tests -k {status.model} -m fast", reason, other["file"])


def _stages(status: PortStatus) -> Action | None:
    # A failed stage comes before a stage that was proven in a setting that does not count.
    stages = sorted(status.open_stages, key=lambda stage: stage in status.stages and status.stages[stage].passed)
    return _milestones(status) or (prove_stage.prove(status, stages[0]) if stages else None)


def _milestones(status: PortStatus) -> Action | None:
    """The commit of a proven step that no commit names yet."""
    if not status.branch:
        return None
    missing = missing_milestones(status.package)
    done = [name for name in missing if status.progress.steps[name]]
    if not done:
        return None
    if status.branch in ("main", "master"):
        reason = f"each proven step gets its own commit, on a branch; {status.branch} stays the same as mflux's"
        return Action(f"git switch --create port-{status.model}", reason)
    return commit(f"{done[0]} done", f"each proven step gets its own commit; none names the {done[0]}")


def _golden(status: PortStatus) -> Action | None:
    return next((_of_row(status, row) for row in status.progress.golden if row.state != PASS), None)


def _outdated(status: PortStatus) -> Action | None:
    """A proof counts for the code that was committed and run."""
    outdated = evidence.outdated(status.package)
    if not outdated:
        return None
    stage, problem = next(iter(outdated.items()))
    if any(line[3:].startswith("src/") for line in status.changes):
        return commit(f"Work on {status.model}", f"{stage}: {problem}; a proof counts for committed code")
    return prove_stage.prove_again(status, list(outdated), problem)


def _claims(status: PortStatus) -> Action | None:
    """Each claim of the port besides text-to-image needs its own proof."""
    claimed = [claim for claim in evidence.claimed(status.package) if claim in status.stages]
    return next((prove_stage.prove_claim(status, claim) for claim in claimed if status.stages[claim].problem), None)


def _rows(status: PortStatus) -> Action | None:
    return next((_of_row(status, row) for row in status.progress.rows if row.state == FAIL), None)


def _of_row(status: PortStatus, row) -> Action:
    reason = f"{row.rule} {row.title}: found {row.detail}; fix: {row.fix}"
    return Action(f"mflux-port check {status.model} --merge", reason, row.file or status.port.folder)


def _uncommitted(status: PortStatus) -> Action | None:
    return commit(f"Finish the port of {status.model}", "everything must be committed") if status.changes else None


def _finish(status: PortStatus) -> Action:
    yours = sum(row.state == NEEDS_YOU for row in status.progress.rows)
    reason = (
        f"no row fails; look at the {yours} rows that `mflux-port check {status.model} --merge` lists for you first"
    )
    return Action(f"mflux-port finish {status.model}", reason)


QUESTIONS: tuple[Callable[[PortStatus], Action | None], ...] = (
    _interrupted_update,
    _interrupted_copy,
    _conflicts,
    _wiring,
    _ignored,
    _level,
    _twin,
    _draft,
    _ledger,
    _first_comparison,
    _unaccounted,
    _undecided,
    _stages,
    _tiny_sizes,
    _golden,
    _outdated,
    _claims,
    _rows,
    _uncommitted,
    _finish,
)
