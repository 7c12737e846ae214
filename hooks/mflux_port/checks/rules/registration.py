"""REG: the command, the registry entry, its factory, its names, its class in mflux-save."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.checkout_facts import MODEL_CONFIG, SAVE
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, not_applicable, passed, rule

_REQUIRED_FIELDS = ("num_train_steps", "max_sequence_length", "supports_guidance", "requires_sigma_shift")


@rule(
    "REG01",
    looks_at="pyproject.toml [project.scripts]",
    fix="mflux-port wire <model>, or add mflux-generate-<cli> by hand; then reinstall the checkout",
    why="nobody can run a command that is not registered; completions and capabilities read the entry points too",
    only=reasons.generates,
)
def commands_are_registered(package: Package) -> Verdict:
    """The port's commands are registered in pyproject.toml"""
    if package.port:
        scripts = package.facts.scripts
        return failed_if([f"{n} is missing" for n, t in package.port.scripts.items() if scripts.get(n) != t])
    if not package.generating:
        return failed("the port has no mflux-generate-… command")
    return passed(", ".join(package.generating))


@rule(
    "REG02",
    looks_at="pyproject.toml and src/mflux/models/<model>/cli/",
    fix="add a main() function to the module, or fix the target in [project.scripts]",
    why="a console script with a wrong target fails on its first run",
)
def commands_have_targets(package: Package) -> Verdict:
    """Every registered command points to a function that exists"""
    broken = []
    for name, target in package.scripts.items():
        module, _, function = target.partition(":")
        file = package.facts.find(module)
        names = {node.name for node in syntax.functions(package.facts.tree(file))} if file else set()
        if function not in names:
            broken.append(f"{name} points to {target}, which does not exist")
    return failed_if(broken)


@rule(
    "REG03",
    looks_at=f"{MODEL_CONFIG} AVAILABLE_MODELS",
    fix="mflux-port wire <model>, or add one entry per checkpoint",
    why="without an entry --model is read as a local folder (#577)",
    only=reasons.generates,
)
def checkpoints_are_in_the_registry(package: Package) -> Verdict:
    """Every checkpoint has an entry in AVAILABLE_MODELS"""
    lacking = [f"{key} is missing" for key in package.keys if key not in package.facts.registry]
    if not package.keys:
        return failed("no registry entry belongs to the port")
    return failed_if(lacking, ", ".join(package.keys))


@rule(
    "REG04",
    looks_at=MODEL_CONFIG,
    fix="put the key first in the entry's aliases",
    why="the resolver only matches repo ids and aliases, so it does not find a key that is not an alias",
    only=reasons.has_entries,
)
def keys_are_aliases(package: Package) -> Verdict:
    """Every registry key is among its own aliases"""
    return failed_if(
        [f"{entry.key} is not in its aliases" for entry in package.entries if entry.key not in entry.aliases]
    )


@rule(
    "REG05",
    looks_at=MODEL_CONFIG,
    fix="give each model its own alias",
    why="the first match wins, silently (#613)",
    only=reasons.has_entries,
)
def aliases_are_unique(package: Package) -> Verdict:
    """No alias belongs to two models"""
    clashes = {
        f"{name} is an alias of {entry.key} and of {other.key}"
        for entry in package.entries
        for name in entry.aliases
        for other in package.facts.root_entries
        if name in other.aliases and other.key != entry.key
    }
    return failed_if(sorted(clashes))


@rule(
    "REG06",
    looks_at=MODEL_CONFIG,
    fix="set base_model=None",
    why="the resolver ignores entries with a base_model",
    only=reasons.has_entries,
)
def entries_are_roots(package: Package) -> Verdict:
    """Every entry of the port is a root entry (base_model=None)"""
    return failed_if([f"{entry.key} has a base_model" for entry in package.entries if entry.fields.get("base_model")])


@rule(
    "REG07",
    looks_at=MODEL_CONFIG,
    fix="add one factory per key, with @staticmethod and @lru_cache",
    why="the README's Python example and the variant's default call ModelConfig.<factory>()",
    only=reasons.has_entries,
)
def entries_have_factories(package: Package) -> Verdict:
    """Every entry has a ModelConfig factory"""
    known = set(package.facts.factories.values())
    return failed_if([f"no factory returns {key}" for key in package.keys if key not in known])


@rule(
    "REG08",
    looks_at=MODEL_CONFIG,
    fix="set num_train_steps, max_sequence_length, supports_guidance and requires_sigma_shift in the entry",
    why="unchecked defaults for shift and guidance give images that are close but wrong (#362, #298)",
    only=reasons.has_entries,
)
def entries_are_complete(package: Package) -> Verdict:
    """Every entry sets training steps, sequence length, guidance and sigma shift"""
    given = _given_fields(package)
    return failed_if([f"{k} lacks {f}" for k in package.keys for f in _REQUIRED_FIELDS if f not in given.get(k, ())])


@rule(
    "REG09",
    looks_at=MODEL_CONFIG,
    fix="write model_name as organization/name",
    why="mflux downloads this repo",
    only=reasons.has_entries,
)
def entries_name_a_repo(package: Package) -> Verdict:
    """Every entry names a Hugging Face repo"""
    wrong = [entry for entry in package.entries if not re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo)]
    return failed_if([f"{entry.key} has model_name {entry.repo!r}" for entry in wrong])


@rule(
    "REG10",
    looks_at=MODEL_CONFIG,
    fix="add the longer name (the repo's basename in lower case) to the aliases",
    why="mflux resolves a saved folder's name to the model with the longest alias in it (#427, #667)",
    only=reasons.has_entries,
)
def names_resolve_to_this_model(package: Package) -> Verdict:
    """A folder or repo named after the model resolves to this model"""
    aliases = {name.lower(): entry.key for entry in package.facts.root_entries for name in entry.aliases}
    wrong = []
    for entry in package.entries:
        # Entries may share a repo: the name then resolves to the family, and --base-model picks the member.
        for name in [*entry.aliases, entry.repo.split("/")[-1]]:
            found = _inferred(f"{name.lower()}-q4", aliases)
            if found not in package.keys:
                wrong.append(f"{name}-q4 resolves to {found or 'no model'}")
    return failed_if(wrong)


@rule(
    "REG11",
    looks_at=MODEL_CONFIG,
    fix="use a longer alias",
    why="mflux matches aliases as substrings, without word boundaries: a short alias matches other models' folders",
    only=reasons.has_entries,
)
def aliases_match_no_other_model(package: Package) -> Verdict:
    """No alias of the port is part of another model's name"""
    own = {name.lower() for entry in package.entries for name in entry.aliases}
    others = {}
    for entry in package.facts.registry.values():
        if entry.key not in package.keys:
            others |= {name.lower(): entry.key for name in (entry.key, *entry.aliases)}
    both = {**others, **{name: package.model for name in own}}
    taken = [name for name in others if _inferred(f"{name}-q4", both) == package.model]
    return failed_if([f"{name}-q4 of {others[name]} resolves to {package.model}" for name in taken])


@rule(
    "REG12",
    looks_at=SAVE,
    fix="mflux-port wire <model>, or set MODEL_CLASSES[key] to the class that owns all of the weights",
    why="a wrong or missing route saved a model without its vision encoder (#405, #667, #680)",
    only=reasons.has_entries,
)
def saving_is_routed(package: Package) -> Verdict:
    """mflux-save handles every entry of the port"""
    routes = package.facts.save_routes
    if routes is None:
        own = package.saved_classes
        return passed(", ".join(own)) if own else failed("save.py imports no class of the port")
    handled = {*routes, *package.facts.unsaveable}
    return failed_if([f"{key} is not in MODEL_CLASSES" for key in package.keys if key not in handled])


@rule(
    "REG13",
    looks_at=SAVE,
    fix="map edit checkpoints to the edit class and text-to-image checkpoints to the text-to-image class",
    why="the text-to-image class drops the edit model's weights silently (#405)",
    only=reasons.has_entries,
)
def saving_uses_the_right_class(package: Package) -> Verdict:
    """mflux-save uses the class that owns the checkpoint's weights"""
    routes = package.facts.save_routes
    if routes is None:
        return not_applicable("save.py is an if/elif chain in this mflux; REG12 checks the class")
    if package.port:
        wanted = {c.key: package.port.variant_class(c.variant) for c in package.port.checkpoints}
        return failed_if([f"{k} is saved by {routes.get(k)}, not {n}" for k, n in wanted.items() if routes.get(k) != n])
    own = {item.name for item in package.variants} | set(_aliased_classes(package))
    wrong = [key for key in package.keys if key in routes and routes[key] not in own]
    return failed_if([f"{key} is saved by {routes[key]}, which is not a class of the port" for key in wrong])


def _inferred(name: str, aliases: dict[str, str]) -> str | None:
    """The model that mflux infers from a name: the one whose alias is the longest in that name."""
    inside = [alias for alias in aliases if alias in name]
    return aliases[max(inside, key=len)] if inside else None


def _given_fields(package: Package) -> dict[str, set[str]]:
    table = package.facts.table(MODEL_CONFIG, "AVAILABLE_MODELS")
    pairs = zip(getattr(table, "keys", []), getattr(table, "values", []), strict=True)
    return {str(syntax.literal(k)): {item.arg for item in getattr(v, "keywords", [])} for k, v in pairs}


def _aliased_classes(package: Package) -> list[str]:
    # `ZImageTurbo = ZImage` in variants/__init__.py
    path = f"{package.folder}/variants/__init__.py"
    body = package.facts.tree(path).body if package.facts.exists(path) else []
    return [name for name, value in syntax.assignments(body) if isinstance(value, ast.Name)]
