"""LOR: what each rule of ``checks/rules/lora.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, remove, replace
from tests.checks.paths import CLI, INIT, LORA, VARIANT

BREAKS = [
    Break("LOR01", remove(LORA)),
    Break("LOR02", replace(LORA, "lora_A", "down")),
    Break("LOR02", replace(LORA, "lora_B", "up"), "one of diffusers' two matrices"),
    Break("LOR03", replace(LORA, ".default")),
    Break(
        "LOR03",
        replace(LORA, ".default.weight", ".{'x' if 'to_q' in path else 'default'}.weight"),
        "one target of many",
    ),
    Break("LOR04", replace(LORA, '"diffusion_model.", ')),
    Break("LOR05", replace(LORA, '"lora_unet_", ')),
    Break("LOR05", replace(LORA, '        patterns += [f"{path}.{kohya_name}.weight"]\n', ""), "no kohya matrices"),
    Break("LOR05", replace(LORA, "possible_alpha_patterns=[", "possible_alpha_patterns=[] and ["), "no kohya alpha"),
    Break("LOR06", append(LORA, "\n\nPATHS = [name for name, _ in transformer.named_modules()]\n")),
    Break("LOR07", replace(CLI, "            **lora_init_kwargs_from_args(args),\n")),
    Break("LOR07", replace(CLI, "    parser.add_lora_arguments()\n"), "lora in the answers, but no option"),
    Break("LOR08", replace(INIT, "LoRALoader.load_and_apply_lora(", "apply(")),
    Break("LOR09", replace(VARIANT, "        bake_lora: bool = True,\n")),
    Break("LOR11", append(CLI, '\nbuild_parser().add_argument("--lora-scales", nargs="*")\n')),
    Break("LOR11", append(CLI, '\nbuild_parser().add_argument("--lora-paths", nargs="*")\n'), "own --lora-paths"),
]
