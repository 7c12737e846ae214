"""Files of the complete port and of mflux that the tests change."""

from __future__ import annotations

from tests.checks.complete_port import PACKAGE

INIT = f"{PACKAGE}/nova_initializer.py"
CLI = f"{PACKAGE}/cli/nova_generate.py"
VARIANT = f"{PACKAGE}/variants/txt2img/nova.py"
EDIT = f"{PACKAGE}/variants/edit/nova_edit.py"
CREATOR = f"{PACKAGE}/latent_creator/nova_latent_creator.py"
DEFINITION = f"{PACKAGE}/weights/nova_weight_definition.py"
MAPPING = f"{PACKAGE}/weights/nova_weight_mapping.py"
LORA = f"{PACKAGE}/weights/nova_lora_mapping.py"
TRANSFORMER = f"{PACKAGE}/model/nova_transformer"
FEED_FORWARD = f"{TRANSFORMER}/feed_forward.py"
SCHEDULER = f"{PACKAGE}/model/nova_scheduler/__init__.py"
ADAPTER = f"{PACKAGE}/training_adapter/nova_training_adapter.py"
README = f"{PACKAGE}/README.md"
PORTING = "porting/nova/PORTING.md"
GOLDEN = "tests/image_generation/test_generate_image_nova.py"
SAVING = "tests/model_saving/test_tiny_model_saving_nova.py"
COMMAND = "tests/cli/test_nova_command.py"
TINY = "tests/image_generation/test_tiny_generate_image_nova.py"

CONFIG = "src/mflux/models/common/config/model_config.py"
DEFAULTS = "src/mflux/cli/defaults/defaults.py"
SAVE = "src/mflux/models/common/cli/save.py"
RUNNER = "src/mflux/models/common/training/runner.py"
REVISIONS = "src/mflux/models/common/resolution/model_revisions.py"
CHECKER = "src/mflux/models/common/checking/model_checker.py"
COMPLETIONS = "src/mflux/cli/completions/generator.py"
OVERLAY = "scripts/ci_extract_models.py"
EXAMPLE = "src/mflux/models/common/training/_example/train_nova.json"
SAVER = "src/mflux/callbacks/instances/memory_saver.py"

# The line of the variant that normalizes the latents of a start image.
NORMALIZED = "        clean = NovaLatentCreator.normalize_latents(clean, vae=self.vae)\n"
