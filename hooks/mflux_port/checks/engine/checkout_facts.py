"""The facts of a checkout: each file is read and parsed once, for all rules and all ports."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
from functools import cached_property
from typing import NamedTuple

from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine import syntax
from mflux_port.files.parsing import console_scripts, parse_json, parse_python

MODEL_CONFIG = "src/mflux/models/common/config/model_config.py"
DEFAULTS = "src/mflux/cli/defaults/defaults.py"
SAVE = "src/mflux/models/common/cli/save.py"
RUNNER = "src/mflux/models/common/training/runner.py"
REVISIONS = "src/mflux/models/common/resolution/model_revisions.py"
CHECKER = "src/mflux/models/common/checking/model_checker.py"
COMPLETIONS = "src/mflux/cli/completions/generator.py"
CAPABILITIES = "src/mflux/cli/capabilities.py"
PARSERS = "src/mflux/cli/parser/parsers.py"
OVERLAY = "scripts/ci_extract_models.py"
EXAMPLES = "src/mflux/models/common/training/_example"
# Folders of src/mflux/models with code that several models share.
SHARED = {"common", "common_models"}


class Unreadable(Exception):
    """A file that a rule needs is missing or is not valid Python. The message names it."""


class Entry(NamedTuple):
    """One entry of ``AVAILABLE_MODELS``; ``fields`` are its literal keyword arguments."""

    key: str
    fields: dict

    @property
    def aliases(self) -> list[str]:
        names = self.fields.get("aliases")
        return [str(name) for name in names] if isinstance(names, list | tuple) else []

    @property
    def repo(self) -> str:
        return str(self.fields.get("model_name") or "")


class Facts:
    """Text and syntax of one checkout."""

    def __init__(self, checkout: Checkout):
        self.checkout = checkout
        self.root = checkout.root
        self._trees: dict[str, ast.Module | None] = {}
        self._nodes: dict[str, list[ast.AST]] = {}
        self._texts: dict[str, str] = {}
        self._imports: dict[str, dict[str, str]] = {}
        self._files: dict[tuple[str, str], list[str]] = {}

    def exists(self, path: str) -> bool:
        return os.path.exists(f"{self.root}/{path}")

    def text(self, path: str) -> str:
        """The file's text, empty when the file does not exist."""
        if path not in self._texts:
            data = None if os.path.isdir(f"{self.root}/{path}") else self.checkout.read(path)
            self._texts[path] = (data or b"").decode("utf-8-sig", "replace").replace("\r\n", "\n")
        return self._texts[path]

    def tree(self, path: str) -> ast.Module:
        """The file's syntax tree. Raises Unreadable when it is missing or broken."""
        if path not in self._trees:
            try:
                self._trees[path] = parse_python(self.text(path)) if self.exists(path) else None
            except SyntaxError as error:
                raise Unreadable(f"{path} line {error.lineno or 1} is not valid Python") from None
        tree = self._trees[path]
        if tree is None:
            raise Unreadable(f"{path} is missing")
        return tree

    def nodes(self, path: str) -> list[ast.AST]:
        """Every node of the file's tree, outer ones first."""
        if path not in self._nodes:
            self._nodes[path] = syntax.walk(self.tree(path))
        return self._nodes[path]

    def imports(self, path: str) -> dict[str, str]:
        """The names that the file imports, each with its origin."""
        if path not in self._imports:
            self._imports[path] = syntax.imports(self.tree(path))
        return self._imports[path]

    def files(self, folder: str, pattern: str = "*.py") -> list[str]:
        """Files below a folder, relative to the checkout, sorted. Without caches and hidden folders."""
        if (folder, pattern) not in self._files:
            below = fnmatch.filter(self._below(folder), f"*/{pattern}")
            self._files[folder, pattern] = sorted(name for name in below if os.path.isfile(f"{self.root}/{name}"))
        return self._files[folder, pattern]

    def _below(self, folder: str) -> list[str]:
        # os.walk is used because a check lists many folders, and pathlib takes four times as long.
        found = []
        for place, folders, names in os.walk(f"{self.root}/{folder}"):
            folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
            start = place.removeprefix(f"{self.root}/")
            found += [f"{start}/{name}" for name in names if name[0] != "."]
        return found

    def find(self, module: str) -> str:
        """The file of a module ``mflux.a.b``, empty when there is none."""
        stem = f"src/{module.replace('.', '/')}"
        return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if self.exists(name)), "")

    def table(self, path: str, name: str) -> ast.Dict | ast.List | None:
        """The literal that ``name`` is set to in a file, at the top level or inside a class."""
        if not self.exists(path):
            return None
        tree = self.tree(path)
        bodies = [tree.body, *(node.body for node in syntax.classes(tree))]
        found = (value for body in bodies for target, value in syntax.assignments(body) if target == name)
        return next((value for value in found if isinstance(value, ast.Dict | ast.List)), None)

    def _entries(self, path: str, name: str) -> dict[str, object]:
        table = self.table(path, name)
        return syntax.entries(table, syntax.constants(self.tree(path))) if isinstance(table, ast.Dict) else {}

    @cached_property
    def models(self) -> list[str]:
        """Packages of ``src/mflux/models`` that have a command."""
        named = {target.split(".")[2] for target in self.scripts.values() if target.startswith("mflux.models.")}
        return [name for name in self.folders if name not in SHARED and name in named]

    @cached_property
    def folders(self) -> list[str]:
        """Every package of ``src/mflux/models``."""
        return sorted(path.name for path in (self.root / "src/mflux/models").iterdir() if path.is_dir())

    def owner(self, name: str) -> str:
        """The model whose name is in a file's name, as whole words; the longest of several, empty
        when there is none.
        """
        words = f"_{re.sub(r'[^a-z0-9]+', '_', name.lower())}_"
        return max((model for model in self.folders if f"_{model}_" in words), key=len, default="")

    @cached_property
    def scripts(self) -> dict[str, str]:
        try:
            scripts = console_scripts(self.text("pyproject.toml").encode())
        except ValueError:
            scripts = {}
        if not scripts:
            raise Unreadable("pyproject.toml is not valid TOML with [project.scripts]")
        return {name: target for name, target in scripts.items() if isinstance(target, str)}

    @cached_property
    def registry(self) -> dict[str, Entry]:
        table = self.table(MODEL_CONFIG, "AVAILABLE_MODELS")
        entries = {}
        for key, value in zip(getattr(table, "keys", []), getattr(table, "values", []), strict=True):
            name = syntax.literal(key)
            fields = {item.arg: syntax.literal(item.value) for item in getattr(value, "keywords", [])}
            if isinstance(name, str):
                known = {field: given for field, given in fields.items() if given is not syntax.UNKNOWN}
                entries[name] = Entry(name, known)
        return entries

    @property
    def root_entries(self) -> list[Entry]:
        """The entries that mflux's resolver considers: those without a base_model."""
        return [entry for entry in self.registry.values() if not entry.fields.get("base_model")]

    @cached_property
    def factories(self) -> dict[str, str]:
        """``ModelConfig``'s factory methods with the registry key that each returns."""
        found = {}
        for node in syntax.classes(self.tree(MODEL_CONFIG)):
            for name, method in syntax.methods(node).items():
                if node.name == "ModelConfig" and isinstance(method.body[-1], ast.Return):
                    value = method.body[-1].value
                    if isinstance(value, ast.Subscript) and syntax.dotted(value.value) == "AVAILABLE_MODELS":
                        found[name] = str(syntax.literal(value.slice))
        return found

    @cached_property
    def steps(self) -> dict[str, object]:
        return self._entries(DEFAULTS, "MODEL_INFERENCE_STEPS")

    def default_steps(self, key: str) -> object:
        """A registry key's number of steps in mflux's table, found by the key or an alias; None without an entry."""
        names = [key, *(self.registry[key].aliases if key in self.registry else ())]
        return next((self.steps[name] for name in names if name in self.steps), None)

    @cached_property
    def save_routes(self) -> dict[str, str] | None:
        """The class name that mflux-save uses for each registry key; None if save.py is an if/elif
        chain (mflux 0.18).
        """
        table = self.table(SAVE, "MODEL_CLASSES")
        if not isinstance(table, ast.Dict):
            return None
        return {str(syntax.literal(k)): syntax.dotted(v) for k, v in zip(table.keys, table.values, strict=True)}

    @cached_property
    def unsaveable(self) -> dict[str, object]:
        return self._entries(SAVE, "UNSUPPORTED_MODELS")

    @cached_property
    def save_classes(self) -> dict[str, str]:
        """The model classes that save.py imports, each with its module."""
        found = self.imports(SAVE)
        return {name: origin.rpartition(".")[0] for name, origin in found.items() if ".models." in origin}

    @cached_property
    def shared_flags(self) -> set[str]:
        """Every ``--option`` of mflux's shared parser."""
        return {text for text in syntax.strings(self.nodes(PARSERS)) if re.fullmatch(r"--?[a-zA-Z][\w-]*", text)}

    @cached_property
    def has_tests(self) -> bool:
        """False for an unpacked release: it has no tests of the merged ports."""
        return self.exists("tests/arg_parser") or self.exists("tests/resolution")

    def git(self, *arguments: str) -> list[str]:
        """The lines that git prints; none when git fails or is not installed."""
        import subprocess  # most rules do not use git

        command = ["git", "-C", str(self.root), "-c", "core.quotePath=false", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return []
        return done.stdout.splitlines() if done.returncode == 0 else []

    @cached_property
    def base(self) -> str:
        """The commit where the port's branch started from main; HEAD when there is no main branch."""
        for name in ("upstream/main", "origin/main", "main"):
            found = self.git("merge-base", "HEAD", name)
            if found:
                return found[0]
        return "HEAD"

    @cached_property
    def changed(self) -> list[str]:
        """Files that differ from ``base``, untracked files included."""
        known = self.git("diff", "--name-only", self.base)
        return sorted({*known, *self.git("ls-files", "--others", "--exclude-standard")})

    def json(self, path: str) -> dict:
        """A JSON file's object; empty when the file is missing or contains something else."""
        try:
            value = parse_json(self.text(path)) if self.exists(path) else {}
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}
