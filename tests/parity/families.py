"""The three released ports that are used as a new port, and the folder that the scripts run in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.parity.references import FAMILIES, write_reference

PORTING = Path(__file__).resolve().parents[2] / "template" / "porting" / "{{ model }}"
EPS = "mflux builds these norms with MLX's default eps of 1e-5, the reference has 1e-6."


@dataclass(frozen=True)
class Family:
    port: str
    waived: str = ""

    @property
    def class_name(self) -> str:
        return self.port.partition(":")[2]


PORTS = {
    "z_image": Family("mflux.models.z_image.variants.z_image:ZImage", "text_encoder.layers.*.self_attn.[qk]_norm"),
    "flux2": Family("mflux.models.flux2.variants.txt2img.flux2_klein:Flux2Klein", "transformer.*.attn.norm_*"),
    "ernie_image": Family("mflux.models.ernie_image.variants.txt2img.ernie_image:ErnieImage"),
}


def write_home(name: str, folder: Path) -> Path:
    """The scripts with the answers and waivers of one family, and the reference's config files in ``reference``."""
    family = PORTS[name]
    home = write_scripts(name, FAMILIES[name], family.class_name, folder)
    if family.waived:
        (home / "waivers.yml").write_text(f'parity:\n- module: "{family.waived}"\n  limit: 1.0e-5\n  reason: {EPS}\n')
    return home


def write_scripts(name: str, reference: dict, class_name: str, folder: Path) -> Path:
    """The scripts with a port's answers, and the config files of its ``reference``."""
    home = folder / name
    shutil.copytree(PORTING, home, ignore=shutil.ignore_patterns("__pycache__", "artifacts", "*.jinja"))
    write_reference(reference, home / "reference")
    answers = {"model": name, "class_name": class_name, "hf_repo": f"acme/{name}", "steps": 2, "guidance": 1.0}
    answers |= {"reference_pipeline": reference["_class_name"], "supports_guidance": "true"}
    (home / "answers.yml").write_text("".join(f"{key}: {value}\n" for key, value in answers.items()))
    notes = (PORTING / "PORTING.md.jinja").read_text(encoding="utf-8")
    (home / "PORTING.md").write_text(notes.replace("{{ model }}", name), encoding="utf-8")
    return home
