"""Further breaks: what a rule must see apart from its first example. Rule, what is broken, the one step that breaks it."""

from __future__ import annotations

from tests.checks.breaks_package import CLI, LORA, append, replace

AGAIN = [
    ("LOR02", "one matrix of diffusers", replace(LORA, "lora_B", "up")),
    ("LOR05", "kohya's matrices", replace(LORA, '        patterns += [f"{path}.{kohya_name}.weight"]\n', "")),
    ("LOR05", "kohya's alpha", replace(LORA, "possible_alpha_patterns=[", "possible_alpha_patterns=[] and [")),
    ("LOR03", "one target of many", replace(LORA, ".default.weight", ".{'x' if 'to_q' in path else 'default'}.weight")),
    ("LOR07", "answers say lora, no option", replace(CLI, "    parser.add_lora_arguments()\n")),
    ("LOR11", "own --lora-paths", append(CLI, '\nbuild_parser().add_argument("--lora-paths", nargs="*")\n')),
]
