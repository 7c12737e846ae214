"""CLI: what each rule of ``checks/rules/cli.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, both, replace
from tests.checks.paths import CLI, VARIANT

BREAKS = [
    Break("CLI01", replace(CLI, "CommandLineParser(", "ArgumentParser(")),
    Break("CLI02", replace(CLI, "CallbackManager.register_callbacks(", "register(")),
    Break("CLI03", replace(CLI, "latent_creator = NovaLatentCreator", "latent_creator = None")),
    Break("CLI04", replace(CLI, "DimensionResolver.resolve(", "dict(")),
    Break("CLI05", replace(CLI, "def build_parser", "def make_parser")),
    Break("CLI06", replace(CLI, ", default_model=DEFAULT_MODEL")),
    Break("CLI07", replace(CLI, "    CommandLineParser.warn_ignored_options(IGNORED_OPTIONS)\n")),
    Break("CLI08", replace(CLI, '"--lora-style"', '"--no-such-option"')),
    Break("CLI09", replace(CLI, 'DEFAULT_MODEL = "nova-turbo"', 'DEFAULT_MODEL = "nova-fast"')),
    Break(
        "CLI10",
        both(replace(CLI, "ConfigResolution.resolve_restricted(", "resolve("), replace(CLI, "parser.error(", "print(")),
    ),
    Break("CLI11", append(CLI, "\n# more" * 300)),
    Break("CLI12", replace(CLI, "StopImageGenerationException, ", "KeyError, ")),
    Break("CLI13", replace(CLI, "PromptUtil.read_prompt(args)", "args.prompt")),
    Break("CLI14", replace(CLI, ", export_json_metadata=args.metadata")),
    Break("CLI15", replace(CLI, "in args.seed:", "in [42]:")),
    Break("CLI16", replace(VARIANT, '"nova-turbo": 1.0', '"nova-turbo": 4.0')),
    Break("CLI16", append(CLI, "\nDEFAULT_GUIDANCE = 4.0\n"), "a default in the command"),
]
