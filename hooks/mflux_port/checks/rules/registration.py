"""Repo wiring, first half: the command, the registry entry, its factory, its names."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.facts import MODEL_CONFIG, SAVE
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, not_applicable, passed, rule

REQUIRED_FIELDS = ("num_train_steps", "max_sequence_length", "supports_guidance", "requires_sigma_shift")


@rule(
    "REG01",
    looks_at="pyproject.toml [project.scripts]",
    fix="mflux-port wire <model>, or add mflux-generate-<cli> by hand; then install the checkout again",
    why="an unregistered command exists for nobody: completions and capabilities read the entry points",
    only=reasons.draws,
)
def commands_are_registered(package: Package) -> Verdict:
    """The port's commands are registered in pyproject.toml"""
    if package.port:
        scripts = package.facts.scripts
        return none_of([f"{n} is missing" for n, t in package.port.scripts.items() if scripts.get(n) != t])
    return passed(", ".join(package.generating)) if package.generating else failed("no mflux-generate-… of the port")


@rule(
    "REG02",
    looks_at="pyproject.toml and src/mflux/models/<model>/cli/",
    fix="add the module with a function main(), or mend the target in [project.scripts]",
    why="a console script with a wrong target fails at its first start",
)
def commands_lead_somewhere(package: Package) -> Verdict:
    """Every registered command leads to a function that exists"""
    lost = []
    for name, target in package.scripts.items():
        module, _, function = target.partition(":")
        file = package.facts.find(module)
        names = {node.name for node in syntax.functions(package.facts.tree(file))} if file else set()
        if function not in names:
            lost.append(f"{name} leads to {target}")
    return none_of(lost)


@rule(
    "REG03",
    looks_at=f"{MODEL_CONFIG} AVAILABLE_MODELS",
    fix="mflux-port wire <model>, or add an entry per checkpoint",
    why="without an entry --model is read as a local folder (#577)",
    only=reasons.draws,
)
def checkpoints_are_in_the_registry(package: Package) -> Verdict:
    """Every checkpoint has an entry in AVAILABLE_MODELS"""
    lacking = [f"{key} is missing" for key in package.keys if key not in package.facts.registry]
    return (
        none_of(lacking, ", ".join(package.keys)) if package.keys else failed("no registry entry belongs to the port")
    )


@rule(
    "REG04",
    looks_at=MODEL_CONFIG,
    fix="list the canonical key first in the entry's aliases",
    why="the resolver matches repo ids and aliases only, so a key that is no alias is not found",
    only=reasons.has_entries,
)
def keys_are_aliases(package: Package) -> Verdict:
    """Every registry key is among its own aliases"""
    return none_of(
        [f"{entry.key} is not in its aliases" for entry in package.entries if entry.key not in entry.aliases]
    )


@rule(
    "REG05",
    looks_at=MODEL_CONFIG,
    fix="give each model its own alias",
    why="the first of two wins, silently (#613)",
    only=reasons.has_entries,
)
def aliases_are_unique(package: Package) -> Verdict:
    """No alias names two models"""
    taken = [
        (name, e.key) for e in package.facts.registry.values() if not e.fields.get("base_model") for name in e.aliases
    ]
    own = [(name, entry.key) for entry in package.entries for name in entry.aliases]
    clashes = {
        f"{name} names {key} and {other}" for name, key in own for n, other in taken if n == name and other != key
    }
    return none_of(sorted(clashes))


@rule(
    "REG06",
    looks_at=MODEL_CONFIG,
    fix="set base_model=None",
    why="an entry with a base_model is hidden from every resolution",
    only=reasons.has_entries,
)
def entries_are_roots(package: Package) -> Verdict:
    """Every entry of the port is a root (base_model=None)"""
    return none_of([f"{entry.key} has a base_model" for entry in package.entries if entry.fields.get("base_model")])


@rule(
    "REG07",
    looks_at=MODEL_CONFIG,
    fix="add a factory with @staticmethod and @lru_cache per key",
    why="the README's Python example and the variant's default call ModelConfig.<factory>()",
    only=reasons.has_entries,
)
def entries_have_factories(package: Package) -> Verdict:
    """Every entry has a ModelConfig factory"""
    known = set(package.facts.factories.values())
    return none_of([f"no factory returns {key}" for key in package.keys if key not in known])


@rule(
    "REG08",
    looks_at=MODEL_CONFIG,
    fix="say num_train_steps, max_sequence_length, supports_guidance and requires_sigma_shift in the entry",
    why="shift and guidance that nobody looked up give close but wrong images (#362, #298)",
    only=reasons.has_entries,
)
def entries_are_complete(package: Package) -> Verdict:
    """Every entry says its training steps, sequence length, guidance and sigma shift"""
    written = _written_fields(package)
    return none_of([f"{k} lacks {f}" for k in package.keys for f in REQUIRED_FIELDS if f not in written.get(k, ())])


@rule(
    "REG09",
    looks_at=MODEL_CONFIG,
    fix="write model_name as organisation/name",
    why="the repo id is what is downloaded",
    only=reasons.has_entries,
)
def entries_name_a_repo(package: Package) -> Verdict:
    """Every entry names a Hugging Face repo"""
    wrong = [entry for entry in package.entries if not re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo)]
    return none_of([f"{entry.key} has model_name {entry.repo!r}" for entry in wrong])


@rule(
    "REG10",
    looks_at=MODEL_CONFIG,
    fix="add the longer name (the repo's basename in lower case) to the aliases",
    why="mflux reads a saved folder's name as the model with the longest alias inside it (#427, #667)",
    only=reasons.has_entries,
)
def names_are_inferred_right(package: Package) -> Verdict:
    """A folder or repo called after the model is read as this model"""
    aliases = {
        n.lower(): e.key for e in package.facts.registry.values() for n in e.aliases if not e.fields.get("base_model")
    }
    wrong = []
    for entry in package.entries:
        # Several entries may share a repo; then the name says the family, and --base-model the member.
        family = {key for key in package.keys}
        for name in [*entry.aliases, entry.repo.split("/")[-1]]:
            found = _inferred(f"{name.lower()}-q4", aliases)
            if found not in family:
                wrong.append(f"{name}-q4 is read as {found or 'no model'}")
    return none_of(wrong)


@rule(
    "REG11",
    looks_at=MODEL_CONFIG,
    fix="make the alias longer",
    why="substring inference ignores word boundaries: a short alias takes other people's folders",
    only=reasons.has_entries,
)
def aliases_take_nobodys_name(package: Package) -> Verdict:
    """No alias of the port sits inside another model's name"""
    own = {name.lower() for entry in package.entries for name in entry.aliases}
    others = {}
    for entry in package.facts.registry.values():
        if entry.key not in package.keys:
            others |= {name.lower(): entry.key for name in (entry.key, *entry.aliases)}
    both = {**others, **{name: package.model for name in own}}
    return none_of(
        [
            f"{n}-q4 of {others[n]} is read as {package.model}"
            for n in others
            if _inferred(f"{n}-q4", both) == package.model
        ]
    )


@rule(
    "REG12",
    looks_at=SAVE,
    fix="mflux-port wire <model>: MODEL_CLASSES[key] = the class that owns all of the weights",
    why="a wrong or missing route saved a model without its vision encoder (#405, #667, #680)",
    only=reasons.has_entries,
)
def saving_is_routed(package: Package) -> Verdict:
    """mflux-save knows every entry of the port"""
    routes = package.facts.save_routes
    if routes is None:
        own = package.saved_classes
        return passed(", ".join(own)) if own else failed("save.py imports no class of the port")
    return none_of(
        [f"{key} has no route" for key in package.keys if key not in routes and key not in package.facts.unsaveable]
    )


@rule(
    "REG13",
    looks_at=SAVE,
    fix="route edit checkpoints to the edit class, text-to-image ones to the text-to-image class",
    why="the text-to-image class drops the edit model's weights without a word (#405)",
    only=reasons.has_entries,
)
def saving_uses_the_right_class(package: Package) -> Verdict:
    """mflux-save takes the class that owns the checkpoint's weights"""
    routes = package.facts.save_routes
    if routes is None:
        return not_applicable("save.py is an if/elif chain here; REG12 looks for the class")
    if package.port:
        wanted = {c.key: package.port.variant_class(c.variant) for c in package.port.checkpoints}
        return none_of([f"{k} is saved by {routes.get(k)}, not {n}" for k, n in wanted.items() if routes.get(k) != n])
    known = {item.name for item in package.variants} | set(_aliased_classes(package))
    return none_of(
        [
            f"{k} is saved by {routes[k]}, which is none of the port's"
            for k in package.keys
            if k in routes and routes[k] not in known
        ]
    )


def _inferred(name: str, aliases: dict[str, str]) -> str | None:
    inside = [alias for alias in aliases if alias in name]
    return aliases[max(inside, key=len)] if inside else None


def _written_fields(package: Package) -> dict[str, set[str]]:
    table = package.facts.table(MODEL_CONFIG, "AVAILABLE_MODELS")
    pairs = zip(getattr(table, "keys", []), getattr(table, "values", []), strict=True)
    return {str(syntax.literal(k)): {item.arg for item in getattr(v, "keywords", [])} for k, v in pairs}


def _aliased_classes(package: Package) -> list[str]:
    # `ZImageTurbo = ZImage` in variants/__init__.py
    path = f"{package.folder}/variants/__init__.py"
    body = package.facts.tree(path).body if package.facts.exists(path) else []
    return [name for name, value in syntax.assignments(body) if isinstance(value, ast.Name)]
