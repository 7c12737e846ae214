"""The port that the scripts belong to: the answers next to them, the class they import, the files they write."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from parity.errors import ParityError

HOME = Path(__file__).resolve().parents[1]
PROMPT = "a red fox in deep snow, morning light"
SEED = 42
SIZE = "1024x768"  # the sides differ, so that height and width cannot be confused
FEW_STEPS = 4
STAGE_NAMES = (
    "vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "end_to_end",
)  # fmt: skip
# A port with several text encoders has a stage for each, in this order.
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
ALL_STAGES = (*STAGE_NAMES, *ENCODERS[1:])  # all possible stages
PASS, FAIL, ABSENT, NOT_RUN, WAIVED = "pass", "FAIL", "not ported", "not run", "waived"  # of a stage
# Errors that PyYAML raises for a value that does not fit its tag, such as `!!int x`, and errors for an answer of a
# wrong type.
UNSOUND = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Answers:
    """The answers that the scripts need. ``home`` is the folder that the scripts are in."""

    model: str
    class_name: str
    hf_repo: str
    pipeline: str
    steps: int
    guidance: float
    supports_guidance: bool
    home: Path
    kinds: dict[str, str] = field(default_factory=dict)  # each text encoder's kind, by its folder in the checkpoint
    vae: str = "own"
    edit_repo: str = ""  # the checkpoint of the edit variant
    size_multiple: int = 16  # of both sides of an image, in pixels

    @property
    def import_path(self) -> str:
        return f"mflux.models.{self.model}.variants.txt2img.{self.model}:{self.class_name}"

    @property
    def edit_path(self) -> str:
        return f"mflux.models.{self.model}.variants.edit.{self.model}_edit:{self.class_name}Edit"

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of this port, in the order in which they are written."""
        at = STAGE_NAMES.index(ENCODERS[0])
        return (*STAGE_NAMES[:at], *ENCODERS[: max(1, len(self.kinds))], *STAGE_NAMES[at + 1 :])

    @property
    def adapter_path(self) -> str:
        name = f"{self.model}_training_adapter"
        return f"mflux.models.{self.model}.training_adapter.{name}:{self.class_name}TrainingAdapter"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"


def load_answers(home: Path = HOME) -> Answers:
    """Read ``answers.yml``. Raises ParityError when it is missing or lacks an answer."""
    path = home / "answers.yml"
    try:
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Answers(
            model=_name(answers["model"]),
            class_name=_name(answers["class_name"]),
            hf_repo=str(answers["hf_repo"]),
            pipeline=str(answers["reference_pipeline"] or ""),
            steps=int(answers["steps"]),
            guidance=float(answers["guidance"]),
            supports_guidance=bool(answers["supports_guidance"]),
            home=home,
            kinds=_kinds(answers),
            vae=str(answers.get("vae") or "own"),
            edit_repo=_edit_repo(answers),
            size_multiple=int(answers.get("size_multiple") or 16),
        )
    except FileNotFoundError:
        raise ParityError(f"{path} is missing; run the scripts from the port's own folder") from None
    except (yaml.YAMLError, *UNSOUND) as error:
        raise ParityError(f"{path} cannot be used ({error}); restore it with `git checkout -- {path}`") from None


def _kinds(answers: dict) -> dict[str, str]:
    entries = answers.get("text_encoders") or [{}]
    places = [str(entry.get("folder", name)) for name, entry in zip(ENCODERS, entries, strict=False)]
    return dict(zip(places, [str(entry.get("kind", answers.get("text_encoder"))) for entry in entries], strict=True))


def _edit_repo(answers: dict) -> str:
    entries = [entry for entry in answers.get("checkpoints") or [] if entry.get("variant", "txt2img") != "txt2img"]
    return str(entries[0]["hf_repo"] if entries else answers["hf_repo"])


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise ValueError(f"{value!r} is not a name")
    return value


def import_class(where: str):
    """The port's class from ``module:Class``. Raises ParityError if it does not exist."""
    module, _, name = where.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError, TypeError) as error:
        raise ParityError(f"the port {where} cannot be imported ({error}); name it with --port module:Class") from None


def size_of(text: str) -> tuple[int, int]:
    """``1024`` or ``768x1024`` as (width, height). Raises ParityError for anything else."""
    try:
        numbers = [int(part) for part in text.lower().split("x")]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) > 2 or any(number < 16 or number % 16 for number in numbers):
        raise ParityError(f"--size {text} is not a size; type one multiple of 16, or WIDTHxHEIGHT such as 768x1024")
    return numbers[0], numbers[-1]
