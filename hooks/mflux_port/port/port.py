"""A port's answers, and every name that is derived from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS, read_answers, verify
from mflux_port.port.checkpoint_entries import ENTRY_FIELDS
from mflux_port.port.lora_modules import LoraModules, read_lora_modules
from mflux_port.port.text_encoders import TextEncoder, part_folders, text_encoders


class Checkpoint(NamedTuple):
    """One entry of mflux's model registry.

    ``key`` is the canonical name, always the first of ``aliases``. ``variant`` names the commands that run it:
    ``txt2img``, ``edit``, or ``both``, whose weights the class for ``txt2img`` saves. ``cli_name`` is set when the
    checkpoint has its own command. ``revision`` is the commit of the Hugging Face repo (40 hex digits) or empty.
    ``config`` holds further ``ModelConfig`` fields such as ``transformer_overrides`` or ``sigma_base_shift``.
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
    """The answers of one port. Attribute names equal the question names of ``copier.yml``.

    ``lora_modules`` are those that a draft found; empty while the port has the template's own.
    """

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
    template: str  # address or folder of the template (_src_path), empty when unknown
    template_commit: str  # the template's version (_commit), empty when unknown
    text_encoders: tuple[TextEncoder, ...]
    folders: dict[str, str]  # folders of the transformer and the VAE, by these names
    lora_modules: LoraModules = ()
    size_multiple: int = 16  # pixels that both sides of an image are multiples of

    @property
    def kinds(self) -> dict[str, str]:
        """The answers for the parts that a port may reuse from mflux, by the port's name for the part."""
        return {"vae": self.vae} | {encoder.name: encoder.kind for encoder in self.text_encoders}

    def folder_of(self, part: str) -> str:
        """The checkpoint's folder of the port's ``part``."""
        return (self.folders | {encoder.name: encoder.folder for encoder in self.text_encoders}).get(part, part)

    @property
    def edits(self) -> bool:
        """Whether it has an edit variant."""
        return "edit" in self.variants

    @property
    def edit_repo(self) -> str:
        """The repo of the edit variant, as run_reference.py --edit chooses it."""
        return next((entry.hf_repo for entry in self.checkpoints if entry.variant != "txt2img"), self.hf_repo)

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
        """``edit`` gives ``FooEdit``, ``txt2img`` and ``both`` give ``Foo``."""
        return f"{self.class_name}Edit" if variant == "edit" else self.class_name

    def variant_module(self, variant: str) -> str:
        """The module that defines ``variant_class(variant)``."""
        module = f"edit.{self.model}_edit" if variant == "edit" else f"txt2img.{self.model}"
        return f"{self.package}.variants.{module}"

    @property
    def scripts(self) -> dict[str, str]:
        """Console commands, each with its ``module:function``, in the order in which they are registered."""
        return dict(self._commands)

    @property
    def _commands(self) -> list[tuple[str, str]]:
        commands = [(self.cli_name, self.model)]
        commands += [(c.cli_name, c.factory) for c in self.checkpoints if c.cli_name not in ("", self.cli_name)]
        commands += [(f"{self.cli_name}-edit", f"{self.model}_edit")] if "edit" in self.variants else []
        return [(f"mflux-generate-{name}", f"{self.package}.cli.{module}_generate:main") for name, module in commands]


def load_port(checkout: Path, model: str) -> Port:
    """Read ``porting/<model>/answers.yml`` below ``checkout``, and the modules that a draft found.

    Raises PortError when the file is missing, belongs to another port, or holds an answer that the questions refuse.
    """
    where = checkout / ANSWERS.format(model=model)
    port = port_from_answers(read_answers(checkout, model), str(where))
    if port.model != model:
        raise PortError(f"{where} says `model: {port.model}` but is in the folder of {model}; restore the old name")
    return port._replace(lora_modules=read_lora_modules(checkout, model))


def list_ports(checkout: Path) -> list[str]:
    """The models of all ports in the checkout that this template made, sorted."""
    return sorted(path.parent.name for path in checkout.glob(ANSWERS.format(model="*")))


def port_from_answers(answers: dict, where: str = "the answers") -> Port:
    """Build a Port from a mapping of question names to answers. Raises PortError naming the wrong answer."""
    verify(answers, where)
    same = {name: answers[name] for name in Port._fields if name in answers}
    return Port(
        **{
            **same,
            "guidance": float(answers["guidance"]),
            "checkpoints": tuple(_checkpoint(entry, answers) for entry in answers["checkpoints"]),
            "variants": tuple(answers["variants"]),
            "template": answers.get("_src_path", ""),
            "template_commit": answers.get("_commit", ""),
            "lora_modules": (),
            "text_encoders": text_encoders(answers),
            "folders": part_folders(answers),
        }
    )


def _checkpoint(entry: dict, answers: dict) -> Checkpoint:
    # As in the template, an entry inherits steps, guidance and supports_guidance; without guidance the value is 1.0.
    supports_guidance = entry.get("supports_guidance", answers["supports_guidance"])
    return Checkpoint(
        key=entry["key"],
        hf_repo=entry["hf_repo"],
        aliases=tuple(dict.fromkeys([entry["key"], *(entry.get("aliases") or ())])),
        steps=entry.get("steps", answers["steps"]),
        guidance=float(entry.get("guidance", answers["guidance"] if supports_guidance else 1.0)),
        supports_guidance=supports_guidance,
        variant=entry.get("variant", "txt2img"),
        cli_name=entry.get("cli_name") or "",
        revision=entry.get("revision") or "",
        config=_config_fields(entry, answers),
    )


def _config_fields(entry: dict, answers: dict) -> dict:
    given = {name: value for name, value in entry.items() if name not in ENTRY_FIELDS}
    implied = {}
    if answers["scheduler"] == "flow_match_euler_discrete":
        implied["requires_sigma_shift"] = True  # without it, mflux's scheduler uses equal sigmas for every image size
    if all(encoder.kind == "clip" for encoder in text_encoders(answers)):
        implied["max_sequence_length"] = 77
    return implied | given
