"""One port, read from its files. Names come from the checkout; only ports made with the template have answers."""

from __future__ import annotations

import ast
import re
from functools import cached_property
from pathlib import PurePosixPath

from mflux_port.checks.engine import syntax
from mflux_port.checks.engine.checkout_facts import EXAMPLES, RUNNER, Facts, Unreadable
from mflux_port.checks.engine.static_evaluation import Evaluator, Instance, Unknown
from mflux_port.port.answers import ANSWERS
from mflux_port.port.port import Port, load_port
from mflux_port.wiring import SurfaceResult, plan_unwire, states

# The other commands transform a given image and take no prompt.
_GENERATES = "mflux-generate"


class Class:
    """A class and its file."""

    def __init__(self, file: str, node: ast.ClassDef):
        self.file = file
        self.node = node

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def methods(self) -> dict[str, ast.FunctionDef]:
        return syntax.methods(self.node)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return syntax.walk(self.node)


class Package:
    """``src/mflux/models/<model>``, and its entries in mflux's shared files."""

    def __init__(self, facts: Facts, model: str):
        self.facts = facts
        self.model = model
        self.folder = f"src/mflux/models/{model}"
        self.port: Port | None = None
        self._commands: dict[str, list[str]] = {}
        if facts.exists(ANSWERS.format(model=model)):
            self.port = load_port(facts.root, model)

    @cached_property
    def files(self) -> list[str]:
        """The package's Python files."""
        return self.facts.files(self.folder)

    def files_in(self, folder: str, suffix: str = ".py") -> list[str]:
        """The package's files in one of its folders, without ``__init__.py``."""
        start = f"{self.folder}/{folder}/" if folder else f"{self.folder}/"
        return [f for f in self.files if f.startswith(start) and f.endswith(suffix) and not f.endswith("__init__.py")]

    def top(self, suffix: str) -> list[str]:
        """Files directly in the package that end in ``suffix``."""
        return [name for name in self.files if name.count("/") == self.folder.count("/") + 1 and name.endswith(suffix)]

    def classes(self, files: list[str]) -> list[Class]:
        return [Class(file, node) for file in files for node in syntax.classes(self.facts.tree(file))]

    @cached_property
    def scripts(self) -> dict[str, str]:
        """The console commands that this package registers, with their targets."""
        start = f"mflux.models.{self.model}."
        return {name: target for name, target in self.facts.scripts.items() if target.startswith(start)}

    @cached_property
    def generating(self) -> dict[str, str]:
        """The commands of the package that generate images from a prompt."""
        return {name: target for name, target in self.scripts.items() if name.startswith(_GENERATES)}

    @cached_property
    def commands(self) -> list[str]:
        """The files of the commands that generate images, each once."""
        modules = dict.fromkeys(target.split(":")[0] for target in self.generating.values())
        return [file for file in map(self.facts.find, modules) if file]

    def command_nodes(self, file: str) -> list[ast.AST]:
        """A command's syntax nodes: those of its file, and of the sibling whose main() or build_parser() it calls."""
        return [node for one in self._command_files(file) for node in self.facts.nodes(one)]

    @cached_property
    def keys(self) -> list[str]:
        """The registry keys of the family: from the answers, else from save.py, the commands and the variants."""
        if self.port:
            return [checkpoint.key for checkpoint in self.port.checkpoints]
        routes = self.facts.save_routes or {}
        found = [key for key, name in routes.items() if name in self.saved_classes]
        for file in self.commands:
            found += [text for text in syntax.strings(self.facts.nodes(file)) if text in self.facts.registry]
        for file in [*self.commands, *self.files_in("variants")]:
            found += [self.facts.factories[name] for name in self._factories(file) if name in self.facts.factories]
        return [key for key in dict.fromkeys(found) if key in self.facts.registry]

    @cached_property
    def saved_classes(self) -> list[str]:
        """The classes of this package that save.py imports."""
        return [name for name, module in self.facts.save_classes.items() if self._is_own(module)]

    @cached_property
    def entries(self) -> list:
        return [self.facts.registry[key] for key in self.keys if key in self.facts.registry]

    @cached_property
    def variants(self) -> list[Class]:
        """The public model classes: they define ``generate_image`` or inherit it within the package."""
        found = [item for item in self.classes(self.files_in("variants")) if not item.name.startswith("_")]
        generating = {item.name for item in found if "generate_image" in item.methods}
        bases = {item.name: {syntax.dotted(base) for base in item.node.bases} for item in found}
        return [item for item in found if item.name in generating or bases[item.name] & generating]

    @cached_property
    def variant_nodes(self) -> list[ast.AST]:
        """All syntax nodes in ``variants/``, which also has helpers and shared base classes."""
        return [node for file in self.files_in("variants") for node in self.facts.nodes(file)]

    @cached_property
    def initializers(self) -> list[str]:
        return self.top("_initializer.py")

    @cached_property
    def initializer_nodes(self) -> list[ast.AST]:
        return [node for file in self.initializers for node in self.facts.nodes(file)]

    @cached_property
    def model_nodes(self) -> list[ast.AST]:
        """The syntax nodes of the code that builds and runs the model: initializer and variants."""
        return [*self.initializer_nodes, *self.variant_nodes]

    @cached_property
    def definitions(self) -> list[Class]:
        """The weight definitions: classes of ``weights/`` with ``get_components``."""
        found = self.classes([file for file in self.files_in("weights") if "definition" in file])
        return [item for item in found if "get_components" in item.methods or item.node.bases]

    @cached_property
    def components(self) -> list[ast.Call]:
        return [call for item in self.definitions for call in syntax.calls(item.nodes, "ComponentDefinition")]

    @cached_property
    def tokenizers(self) -> list[ast.Call]:
        return [call for item in self.definitions for call in syntax.calls(item.nodes, "TokenizerDefinition")]

    @cached_property
    def mappings(self) -> list[str]:
        return [file for file in self.files_in("weights") if "lora" not in file and "mapping" in file]

    @cached_property
    def lora_mappings(self) -> list[str]:
        return [file for file in self.files_in("weights") if "lora_mapping" in file]

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.facts)

    @cached_property
    def lora_targets(self) -> list[Instance]:
        """The LoRATargets that the mapping builds. Raises Unreadable when that cannot be found without running it."""
        found: list[Instance] = []
        for item in self.classes(self.lora_mappings):
            if "get_mapping" in item.methods:
                try:
                    found += self.evaluator.result(item.file, item.name, "get_mapping")
                except (Unknown, TypeError) as error:
                    raise Unreadable(
                        f"{item.file}: {item.name}.get_mapping() cannot be read without running it: {error}"
                    ) from None
        return found

    @cached_property
    def latent_creators(self) -> list[Class]:
        return [item for item in self.classes(self.files_in("latent_creator")) if "LatentCreator" in item.name]

    @cached_property
    def adapters(self) -> list[Class]:
        return [item for item in self.classes(self.files_in("training_adapter")) if "Adapter" in item.name]

    @cached_property
    def readme(self) -> str:
        return self.facts.text(f"{self.folder}/README.md")

    @cached_property
    def readme_row(self) -> list[str]:
        """The cells of the model's row in the root README's table; empty when there is no row."""
        link = f"(src/mflux/models/{self.model}/README.md)"
        rows = [line for line in self.facts.text("README.md").splitlines() if link in line and line.startswith("|")]
        return [cell.strip() for cell in rows[0].strip().strip("|").split("|")] if rows else []

    @cached_property
    def tests(self) -> list[str]:
        """The Python files in tests/ that are named after the model."""
        return [file for file in self.facts.files("tests") if self.owns_test(file)]

    def owns_test(self, file: str) -> bool:
        return file.startswith("tests/") and self.facts.owner(PurePosixPath(file).stem) == self.model

    @cached_property
    def surfaces(self) -> dict[str, SurfaceResult]:
        """The state of each wired file, for a port with answers; empty for others."""
        return states(self.facts.checkout, self.port) if self.port else {}

    @cached_property
    def unwired(self) -> dict[str, str]:
        """The shared files without the port's text; empty for a port without answers."""
        files = plan_unwire(self.facts.checkout, self.port).files if self.port else {}
        return {file: data.decode("utf-8", "replace") for file, data in files.items() if data is not None}

    @cached_property
    def names(self) -> list[str]:
        """Every name of the port that may occur in a text, the longest first."""
        port = self.port
        found = {self.model, *(name for entry in self.entries for name in (*entry.aliases, entry.repo)), *self.scripts}
        found |= {port.display_name, port.class_name, port.cli_name, port.hf_repo} if port else set()
        return sorted(filter(None, found), key=len, reverse=True)

    @property
    def display_name(self) -> str:
        """The model's name for readers: from the answers, else from the root README's table."""
        if self.port:
            return self.port.display_name
        found = re.search(r"\[([^\]]+)\]", " ".join(self.readme_row))
        return found.group(1) if found else self.model

    @cached_property
    def distilled(self) -> set[str]:
        """The keys of the checkpoints that take no guidance."""
        return {entry.key for entry in self.entries if entry.fields.get("supports_guidance") is False}

    @cached_property
    def default_guidance(self) -> dict[str, object]:
        """Each checkpoint's guidance, from DEFAULT_GUIDANCE of the variants; empty if they have none."""
        tables = [
            value
            for item in self.variants
            for name, value in syntax.assignments(item.node.body)
            if name == "DEFAULT_GUIDANCE"
        ]
        found = [syntax.literal(table) for table in tables]
        return {key: value for table in found if isinstance(table, dict) for key, value in table.items()}

    @cached_property
    def reference_images(self) -> list[str]:
        """The golden tests' reference images."""
        found = [file for file in self.facts.files("tests/resources", "*.png") if "reference" in file]
        names = [self.model, *(key.replace("-", "_") for key in self.keys)]
        return [file for file in found if any(name in file for name in names)]

    @cached_property
    def examples(self) -> list[str]:
        """The training examples of the family's models."""
        names = {name for entry in self.entries for name in (entry.key, entry.repo, *entry.aliases)}
        files = self.facts.files(EXAMPLES, "*.json") if self.facts.exists(EXAMPLES) else []
        return [file for file in files if str(self.facts.json(file).get("model")) in names]

    @property
    def takes_lora(self) -> bool:
        """Whether a command of the port has LoRA options."""
        return any(syntax.calls(self.command_nodes(file), "add_lora_arguments") for file in self.commands)

    @property
    def takes_image(self) -> bool:
        """Whether a text-to-image command of the port can start from an image."""
        return any(syntax.calls(self.command_nodes(file), "add_image_to_image_arguments") for file in self.commands)

    @property
    def edits(self) -> bool:
        return any("-edit" in name for name in self.generating) or bool(self.port and self.port.edits)

    @property
    def trains(self) -> bool:
        """Whether ``mflux-train`` supports the port, or the port has an adapter."""
        return f"mflux.models.{self.model}." in self.facts.text(RUNNER) or bool(self.adapters)

    @property
    def generates(self) -> bool:
        return bool(self.generating) or self.port is not None

    def _command_files(self, file: str) -> list[str]:
        if file not in self._commands:
            self._commands[file] = self._find_command_files(file)
        return self._commands[file]

    def _find_command_files(self, file: str) -> list[str]:
        imported = self.facts.imports(file)
        found = [file]
        for call in syntax.calls(self.facts.nodes(file), "main", "build_parser"):
            module, _, function = syntax.dotted(call.func).rpartition(".")
            origin = imported.get(module) if module else imported.get(function, "").rpartition(".")[0]
            sibling = self.facts.find(origin or "")
            if sibling.startswith(f"{self.folder}/cli/") and sibling not in found:
                found.append(sibling)
        return found

    def _is_own(self, module: str) -> bool:
        return module == f"mflux.models.{self.model}" or module.startswith(f"mflux.models.{self.model}.")

    def _factories(self, file: str) -> list[str]:
        calls = (syntax.dotted(node.func) for node in self.facts.nodes(file) if isinstance(node, ast.Call))
        return [name.removeprefix("ModelConfig.") for name in calls if name.startswith("ModelConfig.")]
