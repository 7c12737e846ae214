"""mflux's shared files in miniature: the forms of an old and of a new release, with a model or two each."""

from __future__ import annotations

_CONFIG = b"""\
from functools import lru_cache


class ModelConfig:
    def __init__(
        self,
        priority: int,
        aliases: list[str],
        model_name: str,
        base_model: str | None,
        controlnet_model: str | None,
        custom_transformer_model: str | None,
        num_train_steps: int,
        max_sequence_length: int,
        supports_guidance: bool,
        requires_sigma_shift: bool,
    ):
        self.aliases = aliases

    @staticmethod
    @lru_cache
    def pear() -> "ModelConfig":
        return AVAILABLE_MODELS["pear"]

    @staticmethod
    @lru_cache
    def plum() -> "ModelConfig":
        return AVAILABLE_MODELS["plum"]  # the last


AVAILABLE_MODELS = {
    "pear": ModelConfig(priority=0, aliases=["pear"], model_name="orchard/Pear"),
    # sweeter
    "plum": ModelConfig(
        priority=1,
        aliases=["plum", "plum-2"],
        model_name="orchard/Plum",
    ),
}
"""
_PROJECT = b"""\
[project]
name = "orchard"

[project.scripts]
mflux-generate = "orchard.pear:main"
mflux-generate-plum = "orchard.plum:main"
"mflux-save" = 'orchard.save:main'

[tool.fruit]
ripe = true
"""
_RUNNER = b"""\
from mflux.models.pear.adapter import PearAdapter


class Runner:
    @staticmethod
    def adapter(model_config, training_spec):
        if model_config.aliases[0] == "pear":
            adapter = PearAdapter(
                model_config=model_config,
                quantize=training_spec.quantize,
                model_path=training_spec.model_path,
            )
        elif model_config.aliases[0] == "plum":
            adapter = PlumAdapter(
                model_config=model_config,
            )
        else:
            raise ValueError
        return adapter
"""
_README = b"""\
# Orchard

| Model | Release date | Size | Type | Training | Description |
| --- | --- | --- | --- | --- | --- |
|[Pear](src/mflux/models/pear/README.md) | 2024 | 12 | Base | No | grows |
|[Plum](src/mflux/models/plum/README.md) | 2025 | 4 | Base | No | grows |

- Growers for the [Pear project](https://huggingface.co/orchard/Pear)
"""
_CHANGES = b"""\
# Changes

## [Unreleased]

### New models

- **Plum**: grows

## 1.0
"""
_OLD_SAVE = b"""\
from mflux.models.common.config import ModelConfig
from mflux.models.pear import Pear


def main():
    args = parse()
    model_name_lower = args.model.lower()
    base_model_lower = (args.base_model or "").lower()
    if "plum" in model_name_lower:
        model_class = Plum
    elif model_name_lower == "pear":
        model_class = Pear
    else:
        model_class = Pear
    model_config = ModelConfig.from_name(args.model, base_model=args.base_model)
    model_class(model_config=model_config).save()
"""
_NEW_SAVE = b"""\
from mflux.models.pear import Pear
from mflux.models.plum import (
    Plum,
)

MODEL_CLASSES = {
    "pear": Pear,
    "plum": Plum
}
"""
_COMPLETIONS = b"""\
from pathlib import Path


class Generator:
    def __init__(self):
        self.commands = [
            "mflux-generate",
            "mflux-save",
        ]

    def parser(self, command):
        if command == "mflux-generate":
            parser.add_general_arguments()
        elif command == "mflux-save":
            parser.add_save_arguments()
        elif command == "mflux-upscale":
            parser.add_output_arguments()
        return parser
"""
_CHECKER = b"""\
class Checker:
    @staticmethod
    def _definition_for(key):
        if key == "pear":
            from mflux.models.pear import PearDefinition

            return PearDefinition
        return None
"""
_SHARED = {
    "pyproject.toml": _PROJECT,
    "src/mflux/models/common/config/model_config.py": _CONFIG,
    "src/mflux/models/common/training/runner.py": _RUNNER,
    ".gitignore": b"*.json\n!src/mflux/models/common/training/_example/train_pear.json\n",
    "README.md": _README,
    "CHANGELOG.md": _CHANGES,
}
_OLD = _SHARED | {
    "src/mflux/cli/defaults/defaults.py": b"""\
MODEL_CHOICES = [
    "pear",
    "plum",
]
MODEL_INFERENCE_STEPS: dict[str, int] = {
    "pear": 4,
    "plum": 20,
}
""",
    "src/mflux/models/common/cli/save.py": _OLD_SAVE,
    "src/mflux/cli/completions/generator.py": _COMPLETIONS,
}
_NEW = _SHARED | {
    "src/mflux/cli/defaults/defaults.py": b"""\
MODEL_INFERENCE_STEPS = {
    "apple": 3,
    "pear": 4,
    "plum": 20
}
""",
    "src/mflux/models/common/cli/save.py": _NEW_SAVE,
    "src/mflux/models/common/resolution/model_revisions.py": b"""\
class ModelRevisions:
    PINNED: dict[str, str] = {
        "orchard/Pear": "c0ffee",
    }
""",
    "src/mflux/models/common/checking/model_checker.py": _CHECKER,
    "scripts/ci_extract_models.py": b"""\
STANDARD_QUANTS = [4, 8]
OVERLAY = {
    "pear": ("image", "pear", "pear", ["mflux-generate"], [], "active", STANDARD_QUANTS),
}
""",
}
HOSTS = (_OLD, _NEW)
