"""TAB: mflux's shared tables: steps, choices, revisions, checker, CI overlay."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.checkout_facts import (
    CHECKER,
    COMPLETIONS,
    DEFAULTS,
    MODEL_CONFIG,
    OVERLAY,
    REVISIONS,
    SAVE,
)
from mflux_port.checks.engine.package import Class, Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed_if, needs_you, not_applicable, rule

# The porter edits these texts: the model's size, and what is new in it.
_FOR_READERS = ("readme_table", "readme_acknowledgement", "changelog", "training_example")
_WIRE = "mflux-port wire <model>"
_PREFIX = re.compile(r"""startswith\(\s*["']([^"']+)["']""")


@rule(
    "TAB01",
    looks_at=f"{DEFAULTS} MODEL_INFERENCE_STEPS",
    fix="mflux-port wire <model>, or add the number of steps that the model card recommends",
    why="without an entry --steps defaults to 25, even for a 4-step model (#580, #698)",
    only=reasons.has_entries,
)
def steps_are_declared(package: Package) -> Verdict:
    """Every entry has its default number of steps"""
    if package.model == "seedvr2":
        return not_applicable("an upscaler has no steps")
    return failed_if([f"{key} has no steps" for key in package.keys if not package.facts.default_steps(key)])


@rule(
    "TAB02",
    looks_at=f"{DEFAULTS} MODEL_INFERENCE_STEPS",
    fix="set the same number (the model card's) in the answers and in the table",
    why="README, command and table disagreed: 25 steps for a turbo model (#580)",
    only=reasons.has_answers,
)
def steps_match_the_answers(package: Package) -> Verdict:
    """The default steps match the answers"""
    wanted = {c.key: c.steps for c in package.port.checkpoints}
    found = package.facts.steps
    return failed_if([f"{k} has {found.get(k)}, the answers have {n}" for k, n in wanted.items() if found.get(k) != n])


@rule(
    "TAB03",
    looks_at=f"{DEFAULTS} MODEL_CHOICES",
    fix=f"{_WIRE}, or list every alias",
    why="mflux treats an unlisted name as a local path (#577)",
    only=reasons.has_entries,
)
def choices_list_every_alias(package: Package) -> Verdict:
    """MODEL_CHOICES lists every alias (mflux 0.18)"""
    table = package.facts.table(DEFAULTS, "MODEL_CHOICES")
    if table is None:
        return not_applicable("this mflux reads the choices from the registry")
    listed = set(syntax.strings(syntax.walk(table)))
    lacking = [name for entry in package.entries for name in entry.aliases if name not in listed]
    return failed_if([f"{name} is not listed" for name in lacking])


@rule(
    "TAB04",
    looks_at=f"{DEFAULTS}, {MODEL_CONFIG}, {SAVE}",
    fix="remove one of the two entries",
    why="the last of two equal keys wins silently",
)
def no_key_is_duplicated(package: Package) -> Verdict:
    """No shared table has a key of the port twice"""
    tables = ((DEFAULTS, "MODEL_INFERENCE_STEPS"), (MODEL_CONFIG, "AVAILABLE_MODELS"), (SAVE, "MODEL_CLASSES"))
    duplicates = []
    for path, name in tables:
        table = package.facts.table(path, name)
        if isinstance(table, ast.Dict):
            own = {name for entry in package.entries for name in entry.aliases} | set(package.keys)
            duplicates += [f"{name} has {key} twice" for key in syntax.duplicate_keys(table) if key in own]
    return failed_if(duplicates)


@rule(
    "TAB05",
    looks_at=COMPLETIONS,
    fix="mflux-port wire <model>, or add the command to the list and its branch to the if/elif chain",
    why="a command without a branch gets an empty completion, without an error",
    only=reasons.generates,
)
def completions_know_the_commands(package: Package) -> Verdict:
    """The completion generator lists every command (mflux up to 0.19.0)"""
    if not package.facts.exists(COMPLETIONS) or "self.commands = [" not in package.facts.text(COMPLETIONS):
        return not_applicable("this mflux reads the commands from the installed entry points")
    known = syntax.strings(package.facts.nodes(COMPLETIONS))
    return failed_if([f"{name} is not listed" for name in package.generating if known.count(name) < 2])


@rule(
    "TAB06",
    looks_at=f"{REVISIONS} PINNED",
    fix="mflux-port inspect <repo> prints the commit; set each checkpoint's `revision` in a data file and run copier update --trust -a porting/<model>/answers.yml --data-file <file>",
    why="a repo that is not pinned is downloaded from main, which may change after the port was tested",
    only=reasons.has_entries,
    when=MERGE,
)
def revisions_are_pinned(package: Package) -> Verdict:
    """The revision of every checkpoint is pinned"""
    if not package.facts.exists(REVISIONS):
        return not_applicable("this mflux does not pin revisions")
    pinned = syntax.literal(package.facts.table(REVISIONS, "PINNED"))
    known = pinned if isinstance(pinned, dict) else {}
    return failed_if([f"{entry.repo} is not pinned" for entry in package.entries if entry.repo not in known])


@rule(
    "TAB07",
    looks_at=f"{CHECKER} _definition_for",
    fix="mflux-port wire <model>, or return the key's weight definition there",
    why="mflux-check prints 'no checker definition' for a model that it does not list",
    only=reasons.has_entries,
)
def checker_knows_the_definition(package: Package) -> Verdict:
    """mflux-check has the weight definition of every entry"""
    if not package.facts.exists(CHECKER):
        return not_applicable("this mflux has no mflux-check")
    known = set(syntax.strings(package.facts.nodes(CHECKER)))
    prefixes = tuple(text for text in known if text.endswith("-"))
    return failed_if(
        [f"{key} is not handled" for key in package.keys if key not in known and not key.startswith(prefixes)]
    )


@rule(
    "TAB08",
    looks_at=f"{OVERLAY} OVERLAY",
    fix=f"{_WIRE}, or add the row: type, family, sub-family, commands, tools, status, quantizations",
    why="mflux's CI job ci-extract fails on a model without a row",
    only=reasons.has_entries,
)
def overlay_has_a_row(package: Package) -> Verdict:
    """The CI script's OVERLAY has one row per entry"""
    table = package.facts.table(OVERLAY, "OVERLAY")
    if not isinstance(table, ast.Dict):
        return not_applicable(f"{OVERLAY} is not in this checkout")
    known = [str(syntax.literal(key)) for key in table.keys]
    duplicates = [
        f"{key} has two rows; the last one wins" for key in syntax.duplicate_keys(table) if key in package.keys
    ]
    return failed_if([f"{key} has no row" for key in package.keys if key not in known] + duplicates)


@rule(
    "TAB09",
    looks_at="the shared files that mflux-port wire writes",
    fix=_WIRE,
    why="without it the same wiring gaps return with every new model",
    only=reasons.has_answers,
)
def wiring_matches_the_answers(package: Package) -> Verdict:
    """Every shared file matches the answers"""
    wrong = [r for r in package.surfaces.values() if r.state in ("absent", "stale", "unknown shape")]
    edited = [r for r in package.surfaces.values() if r.state == "edited" and r.surface not in _FOR_READERS]
    if edited and not wrong:
        named = "; ".join(f"{result.surface} {result.detail}".strip() for result in edited)
        return needs_you(f"mflux-port wire <model> --dry-run, then check the edited text: {named}")
    return failed_if([f"{result.surface}: {result.state} {result.detail}".strip() for result in wrong])


@rule(
    "TAB10",
    looks_at="the commands of the other models",
    fix="rename the key so that it does not start with another family's prefix",
    why="other commands collect their family's keys with key.startswith(), which matches this key too",
    only=reasons.has_entries,
)
def no_other_command_collects_the_key(package: Package) -> Verdict:
    """No other model's command collects the port's keys"""
    collected = []
    for file in package.facts.files("src/mflux/models", "*_generate.py"):
        named = _PREFIX.findall(package.facts.text(file))
        if file.startswith(f"{package.folder}/") or not any(key.startswith(tuple(named)) for key in package.keys):
            continue  # parsing every command would take longer than most rules together
        for call in syntax.calls(package.facts.nodes(file), "key.startswith"):
            prefix = syntax.literal(call.args[0]) if call.args else None
            collected += [
                f"{file} collects {key}" for key in package.keys if isinstance(prefix, str) and key.startswith(prefix)
            ]
    return failed_if(collected)


@rule(
    "TAB11",
    looks_at=SAVE,
    fix="give the class save_model(base_path) and the __init__ parameters quantize, model_path and model_config",
    why="mflux-save calls exactly these (#667: some variants had no save_model)",
    only=reasons.has_entries,
)
def saved_class_can_be_saved(package: Package) -> Verdict:
    """The class that mflux-save uses accepts its arguments and can save itself"""
    routes = package.facts.save_routes
    if package.keys and all(key in package.facts.unsaveable for key in package.keys):
        return not_applicable(str(package.facts.unsaveable[package.keys[0]]))
    names = {routes[key] for key in package.keys if key in routes} if routes else set(package.saved_classes)
    lacking = [problem for item in package.variants if item.name in names for problem in _saving_problems(item)]
    return failed_if(lacking) if names else not_applicable("save.py uses no class of the port: REG12")


def _saving_problems(item: Class) -> list[str]:
    lacking = []
    inherited = {syntax.dotted(base) for base in item.node.bases} - {"nn.Module"}
    if "save_model" not in item.methods and not inherited:
        lacking.append(f"{item.name} has no save_model")
    if "__init__" in item.methods:
        known = syntax.parameters(item.methods["__init__"])
        wanted = ("quantize", "model_path", "model_config")
        lacking += [f"{item.name} has no parameter {name}" for name in wanted if name not in known]
    return lacking
