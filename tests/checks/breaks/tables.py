"""TAB: what each rule of ``checks/rules/tables.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, replace, write
from tests.checks.paths import CHECKER, COMPLETIONS, DEFAULTS, OVERLAY, REVISIONS, VARIANT

_KEYS = ("nova-turbo", "nova-base", "nova-edit")
_ROWS = "".join(f'    "{key}": ("text-to-image", "Nova", "{key}", [], [], "supported", None),\n' for key in _KEYS)


BREAKS = [
    Break("TAB01", replace(DEFAULTS, '    "nova-base": 40,\n')),
    Break(
        "TAB01", replace(DEFAULTS, '    "nova-base": 40,\n', "    **{'nova-base': 40},\n"), "a name in a nested dict"
    ),
    Break("TAB02", replace(DEFAULTS, '"nova-turbo": 8', '"nova-turbo": 25')),
    Break(
        "TAB03",
        replace(DEFAULTS, '"nova-edit"]', '"other"]'),
        before=append(DEFAULTS, '\nMODEL_CHOICES = ["nova-turbo", "nova", "nova-base", "nova-edit"]\n'),
    ),
    Break("TAB04", replace(DEFAULTS, '    "nova-base": 40,\n', '    "nova-base": 40,\n    "nova-base": 50,\n')),
    Break(
        "TAB05",
        replace(COMPLETIONS, '"mflux-generate-nova-edit"', '"mflux-generate-other"'),
        before=append(
            COMPLETIONS,
            '\nself.commands = ["mflux-generate-nova", "mflux-generate-nova-edit"]\nRECIPES = ["mflux-generate-nova", "mflux-generate-nova-edit"]\n',
        ),
    ),
    Break("TAB06", replace(REVISIONS, '"acme/Nova-Base"', '"acme/Other"')),
    Break("TAB07", replace(CHECKER, ', "nova-edit"}', "}")),
    Break(
        "TAB08",
        replace(OVERLAY, '    "nova-edit"', '    "nova-turbo"'),
        before=write(OVERLAY, f"OVERLAY = {{\n{_ROWS}}}\n"),
    ),
    Break(
        "TAB09",
        replace("CHANGELOG.md", "- **Nova**: added, with `mflux-generate-nova` and `mflux-generate-nova-edit`.\n"),
    ),
    Break(
        "TAB10",
        append(
            "src/mflux/models/moss_image/cli/moss_image_generate.py",
            '\nOURS = [key for key in KEYS if key.startswith("nova-")]\n',
        ),
    ),
    Break("TAB11", replace(VARIANT, "def save_model(", "def keep(")),
]
