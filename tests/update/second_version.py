"""The changes of v0.2.0 of the template in these tests: conventions in ten files, wiring, and files of the porter."""

from __future__ import annotations

from tests.update.template_versions import Template

# Endings of rendered paths. Every one of these files carries conventions: updates merge them.
CONVENTIONS = (
    "nova/__init__.py",
    "nova/nova_initializer.py",
    "nova/cli/nova_generate.py",
    "nova/variants/txt2img/nova.py",
    "nova/weights/nova_weight_definition.py",
    "porting/nova/run_reference.py",
    "tests/cli/test_nova_command.py",
    "helpers/tiny_nova_checkpoint.py",
    "test_tiny_generate_image_nova.py",
    "test_tiny_model_saving_nova.py",
)
# The porter owns these.
OWNED = (
    "nova/README.md",
    "nova_transformer/transformer.py",
    "nova_text_encoder/prompt_encoder.py",
    "nova/weights/nova_weight_mapping.py",
    "latent_creator/nova_latent_creator.py",
    "image_generation/test_generate_image_nova.py",
    "porting/nova/PORTING.md",
)
CONVENTION = "# A convention of v0.2.0.\n"
NEW_FILE = "src/mflux/models/{model}/conventions.py"


def change_conventions(template: Template) -> None:
    """Add a line at the end of ten files, add and remove a file, and change the words in mflux's changelog."""
    for ending in CONVENTIONS:
        if ending == "nova/cli/nova_generate.py":  # the code that all commands share is in a component
            template.edit("components/command.jinja", "    main()\n", f"    main()\n{CONVENTION}")
        else:
            template.append(ending, CONVENTION)
    path = template.home / "template" / NEW_FILE.replace("{model}", "{{ model }}")
    path.write_text("RULES = 2\n")
    (template.home / template.find("porting/nova/make_tiny_checkpoint.py")).unlink()
    changelog = "hooks/mflux_port/wiring/surfaces/changelog.py"
    template.edit(changelog, ": added, with", ": added (v2), with")


def change_owned(template: Template) -> None:
    for ending in OWNED:
        template.append(ending, "# What only ports that start with v0.2.0 get.\n")
