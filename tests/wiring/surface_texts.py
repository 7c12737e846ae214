"""For each surface and each of its forms: the file before and after two ports, byte for byte."""

from __future__ import annotations

from mangled_hosts import CHECKER, COMPLETIONS, CONFIG, DEFAULTS, REVISIONS, RUNNER, SAVE

_CLASS = """\
from functools import lru_cache


class ModelConfig:
    def __init__(self, priority, aliases, model_name, base_model, controlnet_model, custom_transformer_model,
                 num_train_steps, max_sequence_length, supports_guidance, requires_sigma_shift): ...

    @staticmethod
    @lru_cache
    def dev() -> "ModelConfig":
        return AVAILABLE_MODELS["dev"]
"""
_FACTORIES = """
    @staticmethod
    @lru_cache
    def amber() -> "ModelConfig":
        return AVAILABLE_MODELS["amber"]

    @staticmethod
    @lru_cache
    def zulu_art() -> "ModelConfig":
        return AVAILABLE_MODELS["zulu-art"]

    @staticmethod
    @lru_cache
    def zulu_art_xl() -> "ModelConfig":
        return AVAILABLE_MODELS["zulu-art-xl"]
"""
_DEV = """
    def x_embedder_input_dim(self): ...


AVAILABLE_MODELS = {
    "dev": ModelConfig(priority=7, aliases=["dev"], model_name="black-forest-labs/FLUX.1-dev"),
"""


def _entry(key: str, priority: int, aliases: str, repo: str) -> str:
    return f'''\
    "{key}": ModelConfig(
        priority={priority},
        aliases={aliases},
        model_name="{repo}",
        base_model=None,
        controlnet_model=None,
        custom_transformer_model=None,
        num_train_steps=1000,
        max_sequence_length=512,
        supports_guidance=True,
        requires_sigma_shift=False,
    ),
'''


_ENTRIES = (
    _entry("amber", 8, '["amber"]', "amberlab/Amber")
    + _entry("zulu-art", 9, '["zulu-art", "zulu"]', "zulu-org/Zulu-Art")
    + _entry("zulu-art-xl", 10, '["zulu-art-xl"]', "zulu-org/Zulu-Art-XL")
)

_CHAIN = """\
from mflux.models.common.config import ModelConfig
from mflux.models.flux.variants.txt2img.flux import Flux1
{imports}from mflux.utils.exceptions import ModelConfigError


def main():
    args = parser.parse_args()
    model_name_lower = args.model.lower()
    {first}if "fibo" in model_name_lower:
        model_class = FIBO
    else:
        model_class = Flux1
    model_config = ModelConfig.from_name(args.model, base_model=args.base_model)
"""
_CHAIN_IMPORTS = "from mflux.models.zulu_art.variants.txt2img.zulu_art import ZuluArt\n"
_CHAIN_FIRST = """\
if ModelConfig.from_name(args.model, base_model=args.base_model).aliases[0] in {"zulu-art", "zulu-art-xl"}:
        model_class = ZuluArt
    elif ModelConfig.from_name(args.model, base_model=args.base_model).aliases[0] == "amber":
        model_class = Amber
    el"""

_SORTED = """\
from mflux.models.anima import Anima
{first}from mflux.models.flux import Flux1
{last}
MODEL_CLASSES: dict[str, type] = {{
{amber}    "anima": Anima,
    "dev": Flux1,
    "fibo": FIBO,  # the class of edit too
{zulu}}}
"""

_RUN = """\
from mflux.models.flux2.adapter import Flux2Adapter
{adapter}

class TrainingRunner:
    @staticmethod
    def train(model_config, training_spec):
        if model_config.model_name.startswith("black-forest-labs/FLUX.2"):
            adapter = Flux2Adapter(model_config=model_config, quantize=training_spec.quantize, model_path=training_spec.model_path)
        {branch}elif "z-image" in model_config.aliases:
            adapter = ZImageAdapter(model_config=model_config)
        else:
            raise ValueError("no")
"""

_SHELL = """\
class Generator:
    def __init__(self):
        self.commands = [
            "mflux-generate",
            "mflux-save",
{listed}        ]

    def parser(self, command):
        if command == "mflux-generate":
            parser.add_general_arguments()

        elif command == "mflux-save":
            parser.add_model_arguments()

        {recipes}elif command == "mflux-completions":
            pass
"""


def _recipe(name: str, more: str) -> str:
    return f"""\
elif command == "mflux-generate-{name}":
            parser.add_general_arguments()
            parser.add_model_arguments(require_model_arg=False)
{more}            parser.add_output_arguments()

        """


_GENERATES = "            parser.add_image_generator_arguments(supports_metadata_config=True, supports_dimension_scale_factor=True)\n"
_WITH_LORA = (
    "            parser.add_lora_arguments()\n"
    + _GENERATES
    + "            parser.add_image_to_image_arguments(required=False)\n"
)

_CHECK = """\
class ModelChecker:
    @staticmethod
    def _definition_for(key):
        if key == "dev":
            from mflux.models.flux.weights import FluxWeightDefinition

            return FluxWeightDefinition
{added}        return None
"""

# The rows have the form of those in mflux's own script.
_OVERLAY = """\
STANDARD_QUANTS = ["q4", "q8"]

OVERLAY: dict[str, tuple] = {{
    "krea-dev": ("image", "flux1", "flux1-krea", ["mflux-generate"], [], "maintenance", STANDARD_QUANTS),
    "fibo": (
        "image",
        "fibo",
        "fibo",
        ["mflux-generate-fibo"],
        ["mflux-refine-fibo", "mflux-inspire-fibo"],
        "active",
        None,
    ),
{rows}}}
"""

TEXTS: list[tuple[str, str, str, str, str]] = [
    ("model_config", "0.24.0", CONFIG, f"{_CLASS}{_DEV}}}\n", f"{_CLASS}{_FACTORIES}{_DEV}{_ENTRIES}}}\n"),
    (
        "defaults, with names",
        "0.18.1",
        DEFAULTS,
        'MODEL_CHOICES = [\n    "z-image",\n    "dev",\n]\nMODEL_INFERENCE_STEPS = {\n    "z-image": 9,\n    "dev": 25,\n}\n',
        'MODEL_CHOICES = [\n    "z-image",\n    "dev",\n    "amber",\n    "zulu-art",\n    "zulu",\n    "zulu-art-xl",\n]\n'
        'MODEL_INFERENCE_STEPS = {\n    "z-image": 9,\n    "dev": 25,\n    "amber": 28,\n    "zulu-art": 28,\n'
        '    "zulu": 28,\n    "zulu-art-xl": 60,\n}\n',
    ),
    (
        "defaults, sorted",
        "0.24.0",
        DEFAULTS,
        'MODEL_INFERENCE_STEPS = {\n    "ace": 1,\n    "dev": 25,\n    "z-image": 9,\n}\n',
        'MODEL_INFERENCE_STEPS = {\n    "ace": 1,\n    "amber": 28,\n    "dev": 25,\n    "z-image": 9,\n    "zulu-art": 28,\n'
        '    "zulu-art-xl": 60,\n}\n',
    ),
    (
        "save, a chain",
        "0.18.1",
        SAVE,
        _CHAIN.format(imports="", first=""),
        "from mflux.models.amber.variants.txt2img.amber import Amber\n"
        + _CHAIN.format(imports=_CHAIN_IMPORTS, first="%").replace("%", _CHAIN_FIRST),
    ),
    (
        "save, a table",
        "0.24.0",
        SAVE,
        _SORTED.format(first="", last="", amber="", zulu=""),
        "from mflux.models.amber.variants.txt2img.amber import Amber\n"
        + _SORTED.format(
            first="",
            last=_CHAIN_IMPORTS,
            amber='    "amber": Amber,\n',
            zulu='    "zulu-art": ZuluArt,\n    "zulu-art-xl": ZuluArt,\n',
        ),
    ),
    (
        "training_runner",
        "0.24.0",
        RUNNER,
        _RUN.format(adapter="", branch=""),
        _RUN.format(
            adapter="from mflux.models.zulu_art.training_adapter.zulu_art_training_adapter import ZuluArtTrainingAdapter\n",
            branch='elif model_config.aliases[0] in {"zulu-art", "zulu-art-xl"}:\n            adapter = ZuluArtTrainingAdapter(\n'
            "                model_config=model_config,\n                quantize=training_spec.quantize,\n"
            "                model_path=training_spec.model_path,\n            )\n        ",
        ),
    ),
    (
        "completions",
        "0.18.1",
        COMPLETIONS,
        _SHELL.format(listed="", recipes=""),
        _SHELL.format(
            listed='            "mflux-generate-amber",\n            "mflux-generate-zulu-art",\n',
            recipes=_recipe("amber", _GENERATES) + _recipe("zulu-art", _WITH_LORA),
        ),
    ),
    (
        "model_revisions",
        "0.24.0",
        REVISIONS,
        'class ModelRevisions:\n    PINNED: dict[str, str] = {\n        "a/A": "0",\n        "b/B": "1",\n        "c/C": "2",\n    }\n',
        'class ModelRevisions:\n    PINNED: dict[str, str] = {\n        "a/A": "0",\n        "b/B": "1",\n        "c/C": "2",\n'
        f'        "zulu-org/Zulu-Art": "{"f" * 40}",\n    }}\n',
    ),
    (
        "model_checker",
        "0.24.0",
        CHECKER,
        _CHECK.format(added=""),
        _CHECK.format(
            added="""\
        if key == "amber":
            from mflux.models.amber.weights.amber_weight_definition import AmberWeightDefinition

            return AmberWeightDefinition
        if key in {"zulu-art", "zulu-art-xl"}:
            from mflux.models.zulu_art.weights.zulu_art_weight_definition import ZuluArtWeightDefinition

            return ZuluArtWeightDefinition
"""
        ),
    ),
    (
        "pyproject",
        "0.24.0",
        "pyproject.toml",
        '[project.scripts]\nmflux-save = "a:main"\nmflux-generate = "b:main"\nmflux-train = "c:main"\n\n[tool.x]\nmflux-generate-z = 1\n',
        '[project.scripts]\nmflux-save = "a:main"\nmflux-generate = "b:main"\n'
        'mflux-generate-amber = "mflux.models.amber.cli.amber_generate:main"\n'
        'mflux-generate-zulu-art = "mflux.models.zulu_art.cli.zulu_art_generate:main"\n'
        'mflux-train = "c:main"\n\n[tool.x]\nmflux-generate-z = 1\n',
    ),
    (
        "readme_table and readme_acknowledgement",
        "0.24.0",
        "README.md",
        "| Model | Release date | Size | Type | Training | Description |\n|---|---|---|---|---|---|\n"
        "|[X](src/mflux/models/x/README.md) | 2026 | 1B | Base | No | x |\n\nThanks:\n\n- Org for the [X project](https://x)\n\nEnd\n",
        "| Model | Release date | Size | Type | Training | Description |\n|---|---|---|---|---|---|\n"
        "|[X](src/mflux/models/x/README.md) | 2026 | 1B | Base | No | x |\n"
        "|[Amber](src/mflux/models/amber/README.md) | ? | ? | Base | No | Text-to-image. |\n"
        "|[Zulu Art](src/mflux/models/zulu_art/README.md) | ? | ? | Base | Yes | Text-to-image. |\n"
        "\nThanks:\n\n- Org for the [X project](https://x)\n"
        "- amberlab for the [Amber project](https://huggingface.co/amberlab/Amber)\n"
        "- zulu-org for the [Zulu Art project](https://huggingface.co/zulu-org/Zulu-Art)\n\nEnd\n",
    ),
    (
        "changelog",
        "0.24.0",
        "CHANGELOG.md",
        "# Changelog\n\n## [Unreleased]\n\n### New models\n\n- **X**: y.\n\n## 0.24.0\n\n- z\n",
        "# Changelog\n\n## [Unreleased]\n\n### New models\n\n- **Zulu Art**: added, with `mflux-generate-zulu-art`.\n"
        "- **Amber**: added, with `mflux-generate-amber`.\n- **X**: y.\n\n## 0.24.0\n\n- z\n",
    ),
    (
        "gitignore",
        "0.24.0",
        ".gitignore",
        "*.png\n*.json\n!src/mflux/models/common/training/_example/train_a.json\n*.lock\n",
        "*.png\n*.json\n!src/mflux/models/common/training/_example/train_a.json\n"
        "!src/mflux/models/common/training/_example/train_zulu_art.json\n*.lock\n",
    ),
    (
        "ci_extract",
        "0.24.0",
        "scripts/ci_extract_models.py",
        _OVERLAY.format(rows=""),
        _OVERLAY.format(
            rows='    "amber": ("image", "amber", "amber", ["mflux-generate-amber"], [], "active", STANDARD_QUANTS),\n'
            '    "zulu-art": ("image", "zulu-art", "zulu-art", ["mflux-generate-zulu-art"], [], "active", STANDARD_QUANTS),\n'
            '    "zulu-art-xl": ("image", "zulu-art", "zulu-art-xl", ["mflux-generate-zulu-art"], [], "active", STANDARD_QUANTS),\n',
        ),
    ),
]  # fmt: skip
