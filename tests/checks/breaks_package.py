"""Per rule about the package: one thing that breaks it in the complete port. ``before`` makes a rule apply first."""

from __future__ import annotations

from tests.checks.tree import Tree

P = "src/mflux/models/nova"
INIT = f"{P}/nova_initializer.py"
CLI = f"{P}/cli/nova_generate.py"
VARIANT = f"{P}/variants/txt2img/nova.py"
EDIT = f"{P}/variants/edit/nova_edit.py"
CREATOR = f"{P}/latent_creator/nova_latent_creator.py"
DEFINITION = f"{P}/weights/nova_weight_definition.py"
MAPPING = f"{P}/weights/nova_weight_mapping.py"
LORA = f"{P}/weights/nova_lora_mapping.py"
TRANSFORMER = f"{P}/model/nova_transformer"
FEED_FORWARD = f"{TRANSFORMER}/feed_forward.py"
SCHEDULER = f"{P}/model/nova_scheduler/__init__.py"
SAVER = "src/mflux/callbacks/instances/memory_saver.py"


def replace(name: str, old: str, new: str = ""):
    return lambda tree: tree.replace(name, old, new)


def remove(*names: str):
    return lambda tree: [tree.remove(name) for name in names]


def write(name: str, text: str):
    return lambda tree: tree.write(name, text)


def append(name: str, text: str):
    return lambda tree: tree.append(name, text)


def both(*steps):
    return lambda tree: [step(tree) for step in steps]


def move(old: str, new: str):
    def step(tree: Tree) -> None:
        tree.write(new, (tree.root / old).read_text())
        tree.remove(old)

    return step


BREAKS = {
    "LAY01": write(f"{P}/__init__.py", ""),
    "LAY02": move(INIT, f"{P}/loading.py"),
    "LAY03": both(
        move(CLI, f"{P}/nova_generate.py"), replace("pyproject.toml", "nova.cli.nova_generate", "nova.nova_generate")
    ),
    "LAY04": both(
        remove(CREATOR),
        replace(CLI, "NovaLatentCreator\n", "Creator\n"),
        replace(f"{P}/cli/nova_edit_generate.py", "NovaLatentCreator\n", "Creator\n"),
    ),
    "LAY05": move(VARIANT, f"{P}/variants/nova.py"),
    "LAY06": move(EDIT, f"{P}/variants/nova_edit.py"),
    "LAY07": write(f"{P}/variants/__init__.py", ""),
    "LAY08": write(f"{P}/config.py", "SIZE = 1\n"),
    "LAY09": lambda tree: tree.remove_folder(TRANSFORMER),
    "LAY10": move(f"{P}/model/nova_text_encoder/prompt_encoder.py", f"{P}/model/nova_text_encoder/prompts.py"),
    "LAY11": remove(f"{TRANSFORMER}/__init__.py"),
    "LAY12": append(FEED_FORWARD, "# more\n" * 800),
    "LAY13": replace(SCHEDULER, 'register_contrib(NovaScheduler, "nova")\n'),
    "LAY14": replace(CLI, "mflux.models.nova.variants.txt2img.nova import", "mflux.models.nova import"),
    "WGT01": replace(DEFINITION, "def get_tokenizers", "def tokenizers"),
    "WGT02": replace(DEFINITION, "def quantization_predicate", "def predicate"),
    "WGT03": replace(DEFINITION, "mapping_getter=NovaWeightMapping.get_transformer_mapping", "mapping_getter=None"),
    "WGT04": both(
        replace(DEFINITION, '"transformer/*.safetensors",\n'), replace(DEFINITION, '"transformer/*.json",\n')
    ),
    "WGT05": replace(DEFINITION, '"vae/*.json",', '"vae/*.json",\n            "image_encoder/*.safetensors",'),
    "WGT06": both(
        replace(MAPPING, "transformer_blocks.", "layers."),
        replace(MAPPING, "max_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
        replace(DEFINITION, "num_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
    ),
    "WGT07": both(
        replace(MAPPING, "transformer_blocks.{{block}}", "layers.{{layer}}"),
        replace(MAPPING, "max_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
        replace(DEFINITION, "num_layers=NovaWeightMapping.NUM_TEXT_ENCODER_LAYERS,\n"),
    ),
    "WGT08": both(
        replace(MAPPING, "WeightTarget(", "make("),
        replace(DEFINITION, "mapping_getter=NovaWeightMapping.get_", "other="),
    ),
    "WGT09": replace(DEFINITION, "precision=ModelConfig.precision,\n"),
    "WGT11": replace(INIT, "WeightLoader.load(", "load("),
    "WGT12": replace(VARIANT, "weight_definition=NovaWeightDefinition", "weight_definition=OtherDefinition"),
    "WGT13": replace(INIT, "model_path", "place"),
    "TOK01": replace(DEFINITION, '"tokenizer/*"', '"vae/*.txt"'),
    "TOK02": both(
        replace(DEFINITION, 'tokenizer_class="AutoTokenizer"', 'tokenizer_class="T5Tokenizer"'),
        replace("pyproject.toml", '"sentencepiece', '"sentences'),
    ),
    "TOK03": replace(DEFINITION, "max_length=NovaWeightDefinition.MAX_SEQUENCE_LENGTH,\n"),
    "TOK04": replace(INIT, "TokenizerLoader.load_all(", "load_all("),
    "LOR01": remove(LORA),
    "LOR02": replace(LORA, "lora_A", "down"),
    "LOR03": replace(LORA, ".default"),
    "LOR04": replace(LORA, '"diffusion_model.", '),
    "LOR05": replace(LORA, '"lora_unet_", '),
    "LOR06": append(LORA, "\n\nPATHS = [name for name, _ in transformer.named_modules()]\n"),
    "LOR07": replace(CLI, "            **lora_init_kwargs_from_args(args),\n"),
    "LOR08": replace(INIT, "LoRALoader.load_and_apply_lora(", "apply("),
    "LOR09": replace(VARIANT, "        bake_lora: bool = True,\n"),
    "LOR11": append(CLI, '\nbuild_parser().add_argument("--lora-scales", nargs="*")\n'),
    "CLI01": replace(CLI, "CommandLineParser(", "ArgumentParser("),
    "CLI02": replace(CLI, "CallbackManager.register_callbacks(", "register("),
    "CLI03": replace(CLI, "latent_creator = NovaLatentCreator", "latent_creator = None"),
    "CLI04": replace(CLI, "DimensionResolver.resolve(", "dict("),
    "CLI05": replace(CLI, "def build_parser", "def make_parser"),
    "CLI06": replace(CLI, ", default_model=DEFAULT_MODEL"),
    "CLI07": replace(CLI, "    CommandLineParser.warn_ignored_options(IGNORED_OPTIONS)\n"),
    "CLI08": replace(CLI, '"--lora-style"', '"--no-such-option"'),
    "CLI09": replace(CLI, 'DEFAULT_MODEL = "nova-turbo"', 'DEFAULT_MODEL = "nova-fast"'),
    "CLI10": both(
        replace(CLI, "ConfigResolution.resolve_restricted(", "resolve("), replace(CLI, "parser.error(", "print(")
    ),
    "CLI11": append(CLI, "\n# more" * 300),
    "CLI12": replace(CLI, "StopImageGenerationException, ", "KeyError, "),
    "CLI13": replace(CLI, "PromptUtil.read_prompt(args)", "args.prompt"),
    "CLI14": replace(CLI, ", export_json_metadata=args.metadata"),
    "CLI15": replace(CLI, "in args.seed:", "in [42]:"),
    "CLI16": replace(VARIANT, '"nova-turbo": 1.0', '"nova-turbo": 4.0'),
    "FEA01": replace(CREATOR, "def unpack_latents(", "def unpack("),
    "FEA02": replace(CREATOR, "seed", "number"),
    "FEA03": replace(CREATOR, "def pack_latents(", "def pack("),
    "FEA04": both(
        replace(CREATOR, "        if latents.ndim == 5:\n            latents = latents[:, :, 0, :, :]\n"),
        replace(
            CREATOR, "return Flux2LatentCreator.patchify_latents(latents)", "return latents.reshape(*latents.shape)"
        ),
    ),
    "FEA05": both(
        replace(VARIANT, "LatentCreator.encode_image(", "encode("),
        replace(EDIT, "LatentCreator.encode_image(", "encode("),
    ),
    "FEA06": replace(VARIANT, "(latents, tiling_config=self.tiling_config)", "(latents)"),
    "FEA07": replace(SAVER, 'getattr(model, "tiling_config", None) is None', "True"),
    "FEA08": replace(INIT, "model.tiling_config", "model.tiles"),
    "FEA09": replace(INIT, "model_config.transformer_overrides", "model_config.sizes"),
    "FEA10": replace(VARIANT, "ctx.in_loop(t, latents)", "pass"),
    "FEA11": replace(VARIANT, "ctx.interruption(t, latents)", "pass"),
    "FEA12": replace(VARIANT, "prompt_cache", "cache"),
    "FEA13": replace(VARIANT, "self.prompt_cache[prompt] = ", "self.prompt_cache[cache_key] = "),
    "FEA14": replace(VARIANT, "def _predict(", "def _step("),
    "FEA15": replace(VARIANT, "def _decode_latents(", "def _decode("),
    "FEA17": replace(
        VARIANT,
        "        latents = self._prepare_latents(",
        "        mx.eval(mx.zeros(1))\n" * 3 + "        latents = self._prepare_latents(",
    ),
    "FEA18": replace(
        VARIANT,
        "        latents = self._denoise(",
        "        rotary = self.transformer.get_rotary_embeddings(latents, prompt_embeds)\n        latents = self._denoise(",
    ),
    "FEA16": replace(EDIT, "NovaLatentCreator.normalize_latents(", "dict("),
    "STY01": replace(
        FEED_FORWARD, "def __call__(self, ", 'def text(self):\n        """A docstring."""\n\n    def __call__(self, '
    ),
    "STY02": append(FEED_FORWARD, "\n\ndef helper():\n    return 1\n"),
    "STY03": append(
        CREATOR,
        "\n    @staticmethod\n    def _private():\n        return 1\n\n    @staticmethod\n    def public():\n        return 1\n",
    ),
    "STY04": append(FEED_FORWARD, f"# {'long ' * 30}\n"),
    "STY05": replace(FEED_FORWARD, "import mlx", "import diffusers\nimport mlx"),
    "STY06": replace(
        VARIANT,
        "        seed: int,\n        prompt: str,\n        num",
        "        seed,\n        prompt: str,\n        num",
    ),
    "STY07": append(FEED_FORWARD, "<<<<<<< before updating\n"),
    "STY09": append(FEED_FORWARD, "# this explains at length what is done\n" * 6),
    "STY08": append(FEED_FORWARD, "x = = 1\n"),
}
BEFORE = {
    "FEA07": replace(INIT, "model.tiling_config = None", "model.tiling_config = TilingConfig()"),
}
