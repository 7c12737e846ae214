"""REG: what each rule of ``checks/rules/registration.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, replace
from tests.checks.paths import CLI, CONFIG, SAVE
from tests.checks.tree import Tree


def set_field(tree: Tree, key: str, old: str, new: str) -> None:
    """Change a field of one entry of the registry."""
    text = (tree.root / CONFIG).read_text()
    start = text.index(f'    "{key}": ModelConfig(')
    end = text.index("\n    ),\n", start)
    assert old in text[start:end]
    tree.write(CONFIG, text[:start] + text[start:end].replace(old, new) + text[end:])


BREAKS = [
    Break("REG01", replace("pyproject.toml", "mflux-generate-nova-edit =", "mflux-generate-nova-other =")),
    Break("REG02", replace(CLI, "def main(", "def start(")),
    Break("REG03", replace(CONFIG, '    "nova-base": ModelConfig(', '    "nova-basic": ModelConfig(')),
    Break("REG04", replace(CONFIG, '["nova-base"],', '["nova-basic"],')),
    Break("REG05", replace(CONFIG, 'aliases=["nova-edit"]', 'aliases=["nova-edit", "krea-2"]')),
    Break("REG06", lambda tree: set_field(tree, "nova-base", "base_model=None", 'base_model="nova-turbo"')),
    Break("REG07", replace(CONFIG, 'return AVAILABLE_MODELS["nova-base"]', 'return AVAILABLE_MODELS["nova-turbo"]')),
    Break("REG08", lambda tree: set_field(tree, "nova-base", "supports_guidance=True,", "")),
    Break("REG09", replace(CONFIG, 'model_name="acme/Nova-Base"', 'model_name="Nova"')),
    Break("REG10", replace(CONFIG, 'model_name="acme/Nova-Base"', 'model_name="acme/Qwen-Image-2.1"')),
    Break("REG11", replace(CONFIG, 'aliases=["nova-edit"]', 'aliases=["nova-edit", "krea-2-raw-q"]')),
    Break("REG12", replace(SAVE, '    "nova-base": Nova,\n')),
    Break("REG13", replace(SAVE, '"nova-edit": NovaEdit', '"nova-edit": Nova')),
]
