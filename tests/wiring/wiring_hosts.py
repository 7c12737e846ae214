"""Three ports that differ in every answer that wiring reads, and real checkouts to wire them into."""

from __future__ import annotations

import copy
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port, port_from_answers
from mflux_port.wiring.state import SurfaceResult
from mflux_port.wiring.surfaces import SURFACES

RELEASES = ("0.18.0", "0.18.1", "0.19.0", "0.19.1", "0.20.0", "0.21.0", "0.22.0", "0.23.0", "0.24.0")

_COMMON = {
    "reference_pipeline": "DiffusionPipeline",
    "steps": 28,
    "guidance": 4.0,
    "supports_guidance": True,
    "variants": ["txt2img"],
    "vae": "flux2",
    "text_encoder": "qwen3",
    "scheduler": "linear",
    "img2img": True,
    "negative_prompt": True,
    "lora": True,
    "training": False,
    "mflux_api": "0.24",
}

NOVA = {
    **_COMMON,
    "model": "nova_image",
    "class_name": "NovaImage",
    "display_name": "Nova-Image 2.1",
    "cli_name": "nova-2.1",
    "hf_repo": "acme/Nova-Image-2.1-Turbo",
    "steps": 9,
    "guidance": 1.0,
    "supports_guidance": False,
    "variants": ["txt2img", "edit"],
    "training": True,
    "checkpoints": [
        {
            "key": "nova-2.1-turbo",
            "hf_repo": "acme/Nova-Image-2.1-Turbo",
            "aliases": ["nova-2.1", "nova-image-2.1-turbo"],
            "revision": "0123456789abcdef0123456789abcdef01234567",
            "transformer_overrides": {"num_layers": 30, "axes_dims": [32, 48, 48], "cap": None, "norm": 1e-05},
        },
        {
            "key": "nova-2.1-base",
            "hf_repo": "acme/Nova-Image-2.1",
            "aliases": ["nova-image-2.1-base"],
            "steps": 50,
            "guidance": 4.5,
            "supports_guidance": True,
            "cli_name": "nova-2.1-base",
            "requires_sigma_shift": True,
            "sigma_base_shift": 0.5,
        },
        {
            "key": "nova-2.1-edit",
            "hf_repo": "acme/Nova-Image-2.1-Edit",
            "aliases": ["nova-image-2.1-edit"],
            "steps": 40,
            "variant": "edit",
        },
    ],
}
AMBER = {
    **_COMMON,
    "model": "amber",
    "class_name": "Amber",
    "display_name": "Amber",
    "cli_name": "amber",
    "hf_repo": "amberlab/Amber",
    "lora": False,
    "img2img": False,
    "checkpoints": [{"key": "amber", "hf_repo": "amberlab/Amber"}],
}
ZULU = {
    **_COMMON,
    "model": "zulu_art",
    "class_name": "ZuluArt",
    "display_name": "Zulu Art",
    "cli_name": "zulu-art",
    "hf_repo": "zulu-org/Zulu-Art",
    "training": True,
    "checkpoints": [
        {"key": "zulu-art", "hf_repo": "zulu-org/Zulu-Art", "aliases": ["zulu"], "revision": "f" * 40},
        {"key": "zulu-art-xl", "hf_repo": "zulu-org/Zulu-Art-XL", "steps": 60},
    ],
}
THREE = (NOVA, AMBER, ZULU)


def port(answers: dict = AMBER, **changed) -> Port:
    return port_from_answers({**copy.deepcopy(answers), **changed})


def shared_files(port: Port | None = None) -> list[str]:
    """Every file that wiring may change (with a port: its training example too)."""
    files = dict.fromkeys(surface.FILE for surface in SURFACES)
    return [file.format(model=port.model) if port else file for file in files if port or "{" not in file]


def copy_shared(source: Path, root: Path) -> Path:
    """A host with only the shared files, byte for byte: what wiring reads, without the other thousand files."""
    commands = [str(path.relative_to(source)) for path in source.glob("src/mflux/models/*/cli/*.py")]
    for name in [*shared_files(), *commands]:
        if (source / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, root / name)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


def snapshot(root: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file below ``root``, apart from git's own folder."""
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts]
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file below ``root``, apart from git's own folder and the ports' folders."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in (".git", "porting")
    }


def edit_text(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))


def result_of(act, root: Path, surface: str, answers: dict = NOVA) -> SurfaceResult:
    return next(result for result in act(Checkout(root), port(answers)) if result.surface == surface)


def undefined_names(path: Path) -> str:
    # Ruff's report about unbound names.
    ruff = str(Path(sys.executable).with_name("ruff"))
    command = [ruff, "check", "--no-cache", "--isolated", "--select", "F821", "--output-format", "concise", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return "" if done.returncode == 0 else done.stdout
