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
from mflux_port.draft.tiny_sizes import other_names
from mflux_port.draft.write.unresolved import UNRESOLVED, unresolved_entries
from mflux_port.guide import proof
from mflux_port.guide.action import Action, commit
from mflux_port.guide.life import Life
from mflux_port.template.project import address
from mflux_port.update.port_state import Conflict, version_of
from mflux_port.update.tracked import ignored_files, ignored_line
from mflux_port.update.tree import WAY_BACK

_OWN = version_of(f"v{__version__}")


def next_action(life: Life) -> Action:
    """The first action that a function returns. There is always one while the port has its porting folder."""
    return next(action for question in QUESTIONS if (action := question(life)))


def resolve(conflict: Conflict) -> Action:
    """The action for a conflict that an update or a merge left."""
    if conflict.file.endswith(".rej"):
        reason = "an update could not apply this part; write it into the file beside it"
        return Action(f"rm {conflict.file}", reason, conflict.file.removesuffix(".rej"))
    return Action(f"git add -- {conflict.file}", f"line {conflict.line} begins a conflict", conflict.file)


def _interrupted_update(life: Life) -> Action | None:
    note = under_way(life.root)
    return Action(WAY_BACK, f"an update of {note['model']} was interrupted") if note else None


def _conflicts(life: Life) -> Action | None:
    return resolve(life.state.conflicts[0]) if life.state.conflicts else None


def _wiring(life: Life) -> Action | None:
    surfaces = ", ".join(open_surfaces(life.package))
    if not surfaces:
        return None
    reason = f"the shared files lack the port's lines ({surfaces})"
    version = life.state.version
    # Lines that another version of the template wrote are updated, not fixed by hand.
    if version is None or version == _OWN:
        return Action(f"mflux-port wire {life.model}", reason)
    if version < _OWN:
        return _from_a_clean_tree(life, f"{reason}, and the template is newer than the port")
    newer = address(life.port.template, life.port.template_commit) or "<template>"
    needed = f"the port needs mflux-port {life.state.template_version} or later: this one is {__version__}"
    return Action(f"uvx --from {newer} mflux-port status {life.model}", needed)


def _ignored(life: Life) -> Action | None:
    if not life.state.ignored:
        return None
    said = ignored_line(life.model, ignored_files(life.root, life.model))
    what, _, command = said.partition("; add them with ")
    return Action(command.strip("`"), what)


def _level(life: Life) -> Action | None:
    if life.state.level_is_current or life.state.version is None:
        return None
    levels = f"the port has API level {life.state.api_level}, the checkout has {life.state.checkout_level}"
    return _from_a_clean_tree(life, levels)


def _from_a_clean_tree(life: Life, reason: str) -> Action:
    if life.changes:
        return commit("Before the update", f"{reason}; an update needs a clean tree")
    return Action(f"mflux-port update {life.model}", reason)


def _undrafted(life: Life) -> bool:
    return not (life.key_list or life.was_compared)


def _twin(life: Life) -> Action | None:
    if not _undrafted(life) or life.twin or life.has("artifacts/reference.safetensors"):
        return None
    reason = "a tiny twin of the checkpoint runs on any machine, and the draft uses it"
    return Action(f"uv run {life.folder}/make_tiny_checkpoint.py{life.local_model}", reason)


def _draft(life: Life) -> Action | None:
    if not _undrafted(life):
        return None
    tool = life.tool.replace("uv run", "uv run --with diffusers", 1)
    pipeline = f" --pipeline {shlex.quote(life.twin)}" if life.twin else ""
    command = f"{tool} draft {life.model} --checkpoint {shlex.quote(life.checkpoint)}{pipeline}"
    return Action(command, "the modules and the weight mapping are the template's own")


def _ledger(life: Life) -> Action | None:
    if life.accounted or life.ledger:
        return None
    return Action(_ledger_command(life), "every tensor of the checkpoint and every parameter must be accounted for")


def _ledger_command(life: Life) -> str:
    given = "" if life.key_list else f" --checkpoint {shlex.quote(life.checkpoint)}"
    return f"{life.tool} ledger {life.model}{given}"


def _first_comparison(life: Life) -> Action | None:
    # This comes before a person changes anything, so that all findings are known.
    if life.was_compared or not life.open_stages or life.comparison:
        return None
    return proof.compare_all(life) if life.has(proof.RECORDING) else proof.record(life)


def _unaccounted(life: Life) -> Action | None:
    if life.accounted or not life.ledger or life.ledger["passed"]:
        return None
    found = life.ledger["open"]
    reason = f"{len(found)} open in the ledger, first: {found[0]}; map it, or waive it in {life.folder}/waivers.yml"
    return Action(_ledger_command(life), reason, f"{life.port.folder}/weights/{life.model}_weight_mapping.py")


def _undecided(life: Life) -> Action | None:
    name = UNRESOLVED.format(model=life.model)
    entries = unresolved_entries(life.root / name)
    if not entries:
        return None
    first = entries[0]
    options = ", ".join(map(str, first.get("candidates") or ()))
    choice = f" (candidates: {options})" if options else ""
    reason = (
        f"{len(entries)} undecided, first: {first['component']} {first.get('name', '')}: {first.get('why', '')}{choice}"
    )
    return Action(
        f"mflux-port status {life.model}", f"{reason}; decide it in {life.port.folder}, then delete its entry", name
    )


def _tiny_sizes(life: Life) -> Action | None:
    name = f"{life.port.folder}/model/{life.model}_transformer/transformer.py"
    other = other_names(life.checkout, life.port, {name: life.facts.text(name)}) if life.key_list else {}
    if not other:
        return None
    takes = ", ".join(other["takes"]) or "nothing else"
    reason = f"it names {', '.join(other['says'])}; the transformer takes {takes} instead"
    return Action(f"uv run python -m pytest tests -k {life.model} -m fast", reason, other["file"])


def _stages(life: Life) -> Action | None:
    # A failed stage comes before a stage that was proven in a setting that does not count.
    stages = sorted(life.open_stages, key=lambda stage: stage in life.stages and life.stages[stage].passed)
    return _milestones(life) or (proof.prove(life, stages[0]) if stages else None)


def _milestones(life: Life) -> Action | None:
    """The commit of a proven step that no commit names yet."""
    if not life.branch:
        return None
    missing = missing_milestones(life.package)
    done = [name for name in missing if life.progress.steps[name]]
    if not done:
        return None
    if life.branch in ("main", "master"):
        reason = f"each proven step gets its own commit, on a branch; {life.branch} stays the same as mflux's"
        return Action(f"git switch --create port-{life.model}", reason)
    return commit(f"{done[0]} done", f"each proven step gets its own commit; none names the {done[0]}")


def _golden(life: Life) -> Action | None:
    return next((_of_row(life, row) for row in life.progress.golden if row.state != PASS), None)


def _outdated(life: Life) -> Action | None:
    """A proof counts for the code that was committed and run."""
    outdated = evidence.outdated(life.package)
    if not outdated:
        return None
    stage, problem = next(iter(outdated.items()))
    if any(line[3:].startswith("src/") for line in life.changes):
        return commit(f"Work on {life.model}", f"{stage}: {problem}; a proof counts for committed code")
    return proof.prove_again(life, list(outdated), problem)


def _claims(life: Life) -> Action | None:
    """Each claim of the port besides text-to-image needs its own proof."""
    found = evidence.stages(life.package)
    boxes = [(claim, found[claim]) for claim in evidence.claimed(life.package) if claim in found]
    return next(
        (Action(box.commands(life.model), f"{claim} {box.problem}") for claim, box in boxes if box.problem), None
    )


def _rows(life: Life) -> Action | None:
    return next((_of_row(life, row) for row in life.progress.rows if row.state == FAIL), None)


def _of_row(life: Life, row) -> Action:
    reason = f"{row.rule} {row.title}: found {row.detail}; fix: {row.fix}"
    return Action(f"mflux-port check {life.model} --merge", reason, row.file or life.port.folder)


def _uncommitted(life: Life) -> Action | None:
    return commit(f"Finish the port of {life.model}", "everything must be committed") if life.changes else None


def _finish(life: Life) -> Action:
    yours = sum(row.state == NEEDS_YOU for row in life.progress.rows)
    reason = f"no row fails; look at the {yours} rows that `mflux-port check {life.model} --merge` lists for you first"
    return Action(f"mflux-port finish {life.model}", reason)


QUESTIONS: tuple[Callable[[Life], Action | None], ...] = (
    _interrupted_update,
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
