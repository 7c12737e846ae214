"""Repo wiring, second half: the tables of steps, choices, revisions, definitions, and today's community registries."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.facts import CHECKER, COMPLETIONS, DEFAULTS, MODEL_CONFIG, OVERLAY, REVISIONS, SAVE
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, needs_you, none_of, not_applicable, rule

# Texts for readers are there to be edited: the size of the model, what is new in it.
_FOR_READERS = ("readme_table", "readme_acknowledgement", "changelog", "training_example")
_WIRE = "mflux-port wire <model>"
_PREFIX = re.compile(r"""startswith\(\s*["']([^"']+)["']""")


@rule(
    "TAB01",
    looks_at=f"{DEFAULTS} MODEL_INFERENCE_STEPS",
    fix=f"{_WIRE}, or add the steps that the model card recommends",
    why="without a number --steps is 25, also for a 4-step model (#580, #698)",
    only=reasons.has_entries,
)
def steps_are_declared(package: Package) -> Verdict:
    """Every entry has its default number of steps"""
    if package.model == "seedvr2":
        return not_applicable("an upscaler takes no steps")
    return none_of([f"{key} has no steps" for key in package.keys if not _steps(package, key)])


@rule(
    "TAB02",
    looks_at=f"{DEFAULTS} MODEL_INFERENCE_STEPS",
    fix="write the same number in the answers (or the model card's) and in the table",
    why="README, command and table disagreed: 25 steps for a turbo model (#580)",
    only=reasons.has_answers,
)
def steps_are_those_of_the_answers(package: Package) -> Verdict:
    """The default steps are those of the answers"""
    wanted = {c.key: c.steps for c in package.port.checkpoints}
    found = package.facts.steps
    return none_of([f"{k} has {found.get(k)}, the answers say {n}" for k, n in wanted.items() if found.get(k) != n])


@rule(
    "TAB03",
    looks_at=f"{DEFAULTS} MODEL_CHOICES",
    fix=f"{_WIRE}, or list every alias",
    why="a name that is not listed is taken for a local path (#577)",
    only=reasons.has_entries,
)
def choices_list_every_alias(package: Package) -> Verdict:
    """MODEL_CHOICES lists every alias (mflux 0.18)"""
    table = package.facts.table(DEFAULTS, "MODEL_CHOICES")
    if table is None:
        return not_applicable("this mflux takes the choices from the registry")
    listed = set(syntax.strings(syntax.walk(table)))
    lacking = [name for entry in package.entries for name in entry.aliases if name not in listed]
    return none_of([f"{name} is not listed" for name in lacking])


@rule(
    "TAB04",
    looks_at=f"{DEFAULTS}, {MODEL_CONFIG}, {SAVE}",
    fix="leave one of the two",
    why="of two equal keys the last one wins without a word",
)
def no_key_stands_twice(package: Package) -> Verdict:
    """No shared table holds a key of the port twice"""
    tables = ((DEFAULTS, "MODEL_INFERENCE_STEPS"), (MODEL_CONFIG, "AVAILABLE_MODELS"), (SAVE, "MODEL_CLASSES"))
    doubled = []
    for path, name in tables:
        table = package.facts.table(path, name)
        if isinstance(table, ast.Dict):
            own = {name for entry in package.entries for name in entry.aliases} | set(package.keys)
            doubled += [f"{name} holds {key} twice" for key in syntax.twice(table) if key in own]
    return none_of(doubled)


@rule(
    "TAB05",
    looks_at=COMPLETIONS,
    fix=f"{_WIRE}, or add the command to the list and its recipe to the chain",
    why="a command without a recipe gets an empty completion, without an error",
    only=reasons.draws,
)
def completions_know_the_commands(package: Package) -> Verdict:
    """The completion generator knows every command (mflux up to 0.19.0)"""
    if not package.facts.exists(COMPLETIONS) or "self.commands = [" not in package.facts.text(COMPLETIONS):
        return not_applicable("this mflux takes the commands from the installed entry points")
    known = syntax.strings(package.facts.nodes(COMPLETIONS))
    return none_of([f"{name} is not listed" for name in package.generating if known.count(name) < 2])


@rule(
    "TAB06",
    looks_at=f"{REVISIONS} PINNED",
    fix="mflux-port inspect <repo> says the commit; give each checkpoint its `revision` in a data file and run "
    "copier update --trust -a porting/<model>/answers.yml --data-file <file>",
    why="an unpinned repo is downloaded from main, which may change under the port",
    only=reasons.has_entries,
    when=MERGE,
)
def revisions_are_pinned(package: Package) -> Verdict:
    """The revision of every checkpoint is pinned"""
    if not package.facts.exists(REVISIONS):
        return not_applicable("this mflux pins no revisions")
    pinned = syntax.literal(package.facts.table(REVISIONS, "PINNED"))
    known = pinned if isinstance(pinned, dict) else {}
    return none_of([f"{entry.repo} is not pinned" for entry in package.entries if entry.repo not in known])


@rule(
    "TAB07",
    looks_at=f"{CHECKER} _definition_for",
    fix=f"{_WIRE}, or return the weight definition for the key there",
    why="mflux-check answers 'no checker definition' for a model that it was not told of",
    only=reasons.has_entries,
)
def checker_knows_the_definition(package: Package) -> Verdict:
    """mflux-check knows the weight definition of every entry"""
    if not package.facts.exists(CHECKER):
        return not_applicable("this mflux has no mflux-check")
    known = set(syntax.strings(package.facts.nodes(CHECKER)))
    prefixes = tuple(text for text in known if text.endswith("-"))
    return none_of(
        [f"{key} is not handled" for key in package.keys if key not in known and not key.startswith(prefixes)]
    )


@rule(
    "TAB08",
    looks_at=f"{OVERLAY} OVERLAY",
    fix=f"{_WIRE}, or add the row: type, family, sub-family, commands, tools, status, quantizations",
    why="mflux's CI job ci-extract stops at a model without a row",
    only=reasons.has_entries,
)
def overlay_has_a_row(package: Package) -> Verdict:
    """The CI script's OVERLAY has one row per entry"""
    table = package.facts.table(OVERLAY, "OVERLAY")
    if not isinstance(table, ast.Dict):
        return not_applicable(f"{OVERLAY} is not in this checkout")
    known = [str(syntax.literal(key)) for key in table.keys]
    doubled = [f"{key} has two rows; the last one wins" for key in syntax.twice(table) if key in package.keys]
    return none_of([f"{key} has no row" for key in package.keys if key not in known] + doubled)


@rule(
    "TAB09",
    looks_at="the shared files that mflux-port wire writes",
    fix=_WIRE,
    why="the same wiring gaps come back with every new model",
    only=reasons.has_answers,
)
def wiring_agrees_with_the_answers(package: Package) -> Verdict:
    """Every shared file says what the answers say"""
    wrong = [r for r in package.surfaces.values() if r.state in ("absent", "stale", "unknown shape")]
    edited = [r for r in package.surfaces.values() if r.state == "edited" and r.surface not in _FOR_READERS]
    if edited and not wrong:
        named = "; ".join(f"{result.surface} {result.detail}".strip() for result in edited)
        return needs_you(f"mflux-port wire <model> --dry-run, then look at what was edited by hand: {named}")
    return none_of([f"{result.surface}: {result.state} {result.detail}".strip() for result in wrong])


@rule(
    "TAB10",
    looks_at="the commands of the other models",
    fix="rename the key so that it does not start with another family's prefix",
    why="other commands collect their family with key.startswith(); a foreign key is adopted",
    only=reasons.has_entries,
)
def no_other_command_adopts_the_key(package: Package) -> Verdict:
    """No other model's command takes the port's keys for its own"""
    adopted = []
    for file in package.facts.files("src/mflux/models", "*_generate.py"):
        named = _PREFIX.findall(package.facts.text(file))
        if file.startswith(f"{package.folder}/") or not any(key.startswith(tuple(named)) for key in package.keys):
            continue  # its text alone says no, and parsing every command would cost more than most rules together
        for call in syntax.calls(package.facts.nodes(file), "key.startswith"):
            prefix = syntax.literal(call.args[0]) if call.args else None
            adopted += [
                f"{file} adopts {key}" for key in package.keys if isinstance(prefix, str) and key.startswith(prefix)
            ]
    return none_of(adopted)


@rule(
    "TAB11",
    looks_at=SAVE,
    fix="give the class save_model(base_path) and the parameters quantize, model_path and model_config",
    why="mflux-save calls exactly these (#667: some variants had no save_model)",
    only=reasons.has_entries,
)
def saved_class_can_be_saved(package: Package) -> Verdict:
    """The class that mflux-save takes accepts its arguments and saves itself"""
    routes = package.facts.save_routes
    if package.keys and all(key in package.facts.unsaveable for key in package.keys):
        return not_applicable(str(package.facts.unsaveable[package.keys[0]]))
    names = {routes[key] for key in package.keys if key in routes} if routes else set(package.saved_classes)
    lacking = []
    for item in package.variants:
        if item.name in names:
            inherited = {syntax.dotted(base) for base in item.node.bases} - {"nn.Module"}
            if "save_model" not in item.methods and not inherited:
                lacking.append(f"{item.name} has no save_model")
            if "__init__" in item.methods:
                known = syntax.parameters(item.methods["__init__"])
                lacking += [
                    f"{item.name} takes no {p}" for p in ("quantize", "model_path", "model_config") if p not in known
                ]
    return none_of(lacking) if names else not_applicable("save.py takes no class of the port: REG12")


def _steps(package: Package, key: str) -> object:
    entry = package.facts.registry.get(key)
    names = [key, *(entry.aliases if entry else ())]
    return next((package.facts.steps[name] for name in names if name in package.facts.steps), None)
