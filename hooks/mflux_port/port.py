"""What a port is called, everywhere: the answers file and every name that follows from it."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mflux_port.errors import PortError

ANSWERS = "porting/{model}/answers.yml"
_RESTORE = "mend it, or take it from an earlier commit: `git log -- {path}`"


class Checkpoint(NamedTuple):
    """One entry of mflux's model registry.

    ``key`` is the canonical name, always the first of ``aliases``. ``variant`` names the class that owns the weights
    (``txt2img`` or ``edit``). ``cli_name`` is set when the checkpoint has a command of its own. ``revision`` is the
    commit of the Hugging Face repo (40 hex digits) or empty. ``config`` holds further ``ModelConfig`` fields such as
    ``transformer_overrides`` or ``sigma_base_shift``.
    """

    key: str
    hf_repo: str
    aliases: tuple[str, ...]
    steps: int
    guidance: float
    supports_guidance: bool
    variant: str
    cli_name: str
    revision: str
    config: dict

    @property
    def factory(self) -> str:
        """The name of the ``ModelConfig`` factory: ``foo-2.1`` gives ``foo_2_1``."""
        return re.sub(r"[^a-z0-9]+", "_", self.key.lower()).strip("_")


class Port(NamedTuple):
    """The answers of one port. Attribute names equal the question names of ``copier.yml``."""

    model: str
    class_name: str
    display_name: str
    cli_name: str
    hf_repo: str
    reference_pipeline: str
    steps: int
    guidance: float
    supports_guidance: bool
    checkpoints: tuple[Checkpoint, ...]
    variants: tuple[str, ...]
    vae: str
    text_encoder: str
    scheduler: str
    img2img: bool
    negative_prompt: bool
    lora: bool
    training: bool
    mflux_api: str
    template: str  # where the template lies (_src_path), empty when unknown
    template_commit: str  # the template's version (_commit), empty when unknown

    @property
    def package(self) -> str:
        return f"mflux.models.{self.model}"

    @property
    def folder(self) -> str:
        """The package's folder, relative to the checkout."""
        return f"src/mflux/models/{self.model}"

    @property
    def porting_folder(self) -> str:
        return f"porting/{self.model}"

    @property
    def answers_file(self) -> str:
        return ANSWERS.format(model=self.model)

    def variant_class(self, variant: str) -> str:
        """``txt2img`` gives ``Foo``, ``edit`` gives ``FooEdit``."""
        return self.class_name if variant == "txt2img" else f"{self.class_name}{variant.capitalize()}"

    def variant_module(self, variant: str) -> str:
        """The module that defines ``variant_class(variant)``."""
        suffix = "" if variant == "txt2img" else f"_{variant}"
        return f"{self.package}.variants.{variant}.{self.model}{suffix}"

    @property
    def scripts(self) -> dict[str, str]:
        """Console commands, each with its ``module:function``, in the order they are registered."""
        scripts = {f"mflux-generate-{self.cli_name}": f"{self.package}.cli.{self.model}_generate:main"}
        for checkpoint in self.checkpoints:
            if checkpoint.cli_name and checkpoint.cli_name != self.cli_name:
                module = f"{self.package}.cli.{checkpoint.factory}_generate:main"
                scripts[f"mflux-generate-{checkpoint.cli_name}"] = module
        if "edit" in self.variants:
            scripts[f"mflux-generate-{self.cli_name}-edit"] = f"{self.package}.cli.{self.model}_edit_generate:main"
        return scripts


def load_port(checkout: Path, model: str) -> Port:
    """Read ``porting/<model>/answers.yml`` below ``checkout``.

    Raises PortError when the file is missing or holds something that no question would have let through.
    """
    return port_from_answers(read_answers(checkout, model), where=str(Path(checkout) / ANSWERS.format(model=model)))


def read_answers(checkout: Path, model: str) -> dict:
    """The answers as they stand in the file, not looked at. Raises PortError when there is no such mapping."""
    path = Path(checkout) / ANSWERS.format(model=model)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", model):
        raise PortError(f"{model!r} is no package name; type the port's `model` answer, for example my_model")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PortError(f"{path} is missing; start the port with `copier copy`, or name one of its ports") from None
    except UnicodeDecodeError:
        raise PortError(f"{path} is not UTF-8 text; {_RESTORE.format(path=path)}") from None
    return _parse(text, path)


def list_ports(checkout: Path) -> list[str]:
    """The models of all ports in the checkout that this template made, sorted."""
    return sorted(path.parent.name for path in Path(checkout).glob(ANSWERS.format(model="*")))


def port_from_answers(answers: dict, where: str = "the answers") -> Port:
    """Build a Port from a mapping of question names to answers. Raises PortError naming the wrong answer."""
    verify_kinds(answers, where)
    try:
        plain = {name: answers[name] for name in _STRINGS + _FLAGS}
        port = Port(
            **plain,
            steps=int(answers["steps"]),
            guidance=float(answers["guidance"]),
            checkpoints=tuple(_checkpoint(entry, answers, where) for entry in answers["checkpoints"]),
            variants=tuple(answers["variants"]),
            template=str(answers.get("_src_path", "")),
            template_commit=str(answers.get("_commit", "")),
        )
    except KeyError as error:
        raise PortError(f"{where} has no answer {error}; run `copier copy` again or write it there") from None
    except (TypeError, ValueError) as error:
        raise PortError(
            f"{where} holds a value of the wrong kind ({error}); mend it or run `copier copy` again"
        ) from None
    _verify(port, where)
    return port


def verify_kinds(answers: dict, where: str) -> None:
    """Raise PortError for an answer of the wrong kind, as only an edit by hand makes one. Missing ones are let through."""
    for name, (kind, holds) in _KINDS.items():
        if name in answers and not holds(answers[name]):
            raise PortError(f"{where}: {name} is {answers[name]!r}; it must be {kind}: mend the answer there")


def _is_number(value: object) -> bool:
    # Copier takes text that reads as a number, too.
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


_STRINGS = (
    "model",
    "class_name",
    "display_name",
    "cli_name",
    "hf_repo",
    "reference_pipeline",
    "vae",
    "text_encoder",
    "scheduler",
    "mflux_api",
)
_FLAGS = ("supports_guidance", "img2img", "negative_prompt", "lora", "training")
_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    **dict.fromkeys(
        _STRINGS, ("text", lambda value: isinstance(value, (str, int, float)) and not isinstance(value, bool))
    ),
    **dict.fromkeys(_FLAGS, ("true or false", lambda value: isinstance(value, bool))),
    **dict.fromkeys(("_commit", "_src_path"), ("text", lambda value: isinstance(value, str))),
    "steps": ("a whole number", lambda value: _is_number(value) and float(value).is_integer()),
    "guidance": ("a number", _is_number),
    "checkpoints": ("a list", lambda value: isinstance(value, (list, tuple))),
    "variants": ("a list", lambda value: isinstance(value, (list, tuple))),
}
_CHECKPOINT_KEYS = {
    "key", "hf_repo", "aliases", "steps", "guidance", "supports_guidance", "variant", "cli_name", "revision",
}  # fmt: skip
_PATTERNS = {
    "model": r"[a-z][a-z0-9_]*",
    "class_name": r"[A-Z][A-Za-z0-9]*",
    "cli_name": r"[a-z0-9]+([.-][a-z0-9]+)*",
    "reference_pipeline": r"([A-Za-z_][A-Za-z0-9_.]*)?",
    "mflux_api": r"\d+\.\d+",
}
_REPO = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = r"[a-z0-9]+([._-][a-z0-9]+)*"


def _parse(text: str, path: Path) -> dict:
    import yaml  # every interpreter that runs Copier has it; only commands that read answers pay for it

    try:
        answers = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise PortError(f"{path} line {line} is no YAML; {_RESTORE.format(path=path)}") from None
    if not isinstance(answers, dict):
        raise PortError(f"{path} is no mapping of answers; {_RESTORE.format(path=path)}")
    return answers


def _checkpoint(entry: dict, answers: dict, where: str) -> Checkpoint:
    # An entry without steps, guidance or supports_guidance has the family's, as in the template.
    if not isinstance(entry, dict):
        raise PortError(f"{where}: a `checkpoints` entry is {entry!r}; write it as `- key: …, hf_repo: …`")
    key = str(entry["key"])
    aliases = tuple(dict.fromkeys([key, *map(str, entry.get("aliases") or ())]))
    return Checkpoint(
        key=key,
        hf_repo=str(entry["hf_repo"]),
        aliases=aliases,
        steps=int(entry.get("steps", answers["steps"])),
        guidance=float(entry.get("guidance", answers["guidance"])),
        supports_guidance=bool(entry.get("supports_guidance", answers["supports_guidance"])),
        variant=str(entry.get("variant", "txt2img")),
        cli_name=str(entry.get("cli_name") or ""),
        revision=str(entry.get("revision") or ""),
        config={name: value for name, value in entry.items() if name not in _CHECKPOINT_KEYS},
    )


def _verify(port: Port, where: str) -> None:
    for name, pattern in _PATTERNS.items():
        if not re.fullmatch(pattern, str(getattr(port, name))):
            raise PortError(f"{where}: {name} is {getattr(port, name)!r}; it must match {pattern}")
    for repo in (port.hf_repo, *(checkpoint.hf_repo for checkpoint in port.checkpoints)):
        if not re.fullmatch(_REPO, repo):
            raise PortError(f"{where}: {repo!r} is no Hugging Face repo id; type it as organisation/name")
    if not port.checkpoints:
        raise PortError(f"{where}: `checkpoints` is empty; list at least one entry with key and hf_repo")
    for checkpoint in port.checkpoints:
        _verify_checkpoint(checkpoint, port, where)


def _verify_checkpoint(checkpoint: Checkpoint, port: Port, where: str) -> None:
    for name in checkpoint.aliases:
        if not re.fullmatch(_NAME, name):
            raise PortError(f"{where}: {name!r} is no model name; use lower case, digits, hyphens and dots")
    if not checkpoint.factory.isidentifier() or keyword.iskeyword(checkpoint.factory):
        raise PortError(f"{where}: no function can be called {checkpoint.factory!r}; start the key with a letter")
    if checkpoint.variant not in port.variants:
        known = ", ".join(port.variants)
        raise PortError(f"{where}: {checkpoint.key} has variant {checkpoint.variant!r}; `variants` lists {known}")
    if checkpoint.revision and not re.fullmatch(r"[0-9a-f]{40}", checkpoint.revision):
        raise PortError(f"{where}: revision {checkpoint.revision!r} of {checkpoint.key} is no commit of 40 hex digits")
    if checkpoint.steps < 1:
        raise PortError(f"{where}: {checkpoint.key} has {checkpoint.steps} steps; type 1 or more")
