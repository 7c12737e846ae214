"""LAY: what each rule of ``checks/rules/layout.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, both, move, remove, replace, write
from tests.checks.complete_port import PACKAGE
from tests.checks.paths import CLI, CREATOR, EDIT, FEED_FORWARD, INIT, SCHEDULER, TRANSFORMER, VARIANT

_STEP = "\n\nclass OtherScheduler:\n    def step(self, latents):\n        return latents\n"


BREAKS = [
    Break("LAY01", write(f"{PACKAGE}/__init__.py", "")),
    Break("LAY02", move(INIT, f"{PACKAGE}/loading.py")),
    Break(
        "LAY03",
        both(
            move(CLI, f"{PACKAGE}/nova_generate.py"),
            replace("pyproject.toml", "nova.cli.nova_generate", "nova.nova_generate"),
        ),
    ),
    Break("LAY03", replace("pyproject.toml", "nova.cli.", "nova.missing."), "commands whose module is missing"),
    Break(
        "LAY04",
        both(
            remove(CREATOR),
            replace(CLI, "NovaLatentCreator\n", "Creator\n"),
            replace(f"{PACKAGE}/cli/nova_edit_generate.py", "NovaLatentCreator\n", "Creator\n"),
        ),
    ),
    Break("LAY05", move(VARIANT, f"{PACKAGE}/variants/nova.py")),
    Break("LAY06", move(EDIT, f"{PACKAGE}/variants/nova_edit.py")),
    Break("LAY07", write(f"{PACKAGE}/variants/__init__.py", "")),
    Break("LAY07", remove(f"{PACKAGE}/variants/__init__.py"), "no file"),
    Break("LAY08", write(f"{PACKAGE}/config.py", "SIZE = 1\n")),
    Break("LAY09", lambda tree: tree.remove_folder(TRANSFORMER)),
    Break(
        "LAY10",
        move(f"{PACKAGE}/model/nova_text_encoder/prompt_encoder.py", f"{PACKAGE}/model/nova_text_encoder/prompts.py"),
    ),
    Break("LAY11", remove(f"{TRANSFORMER}/__init__.py")),
    Break("LAY12", append(FEED_FORWARD, "# more\n" * 800)),
    Break("LAY13", replace(SCHEDULER, 'register_contrib(NovaScheduler, "nova")\n')),
    Break(
        "LAY13",
        both(lambda tree: tree.remove_folder(f"{PACKAGE}/model/nova_scheduler"), append(FEED_FORWARD, _STEP)),
        "a scheduler in another file",
    ),
    Break("LAY14", replace(CLI, "mflux.models.nova.variants.txt2img.nova import", "mflux.models.nova import")),
]
