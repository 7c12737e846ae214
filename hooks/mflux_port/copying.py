"""The last step of ``copier copy``: wire the new port, or leave the checkout as it was before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout import Checkout
from mflux_port.checks.report import what_is_left
from mflux_port.errors import PortError, said
from mflux_port.port import load_port

# What the template renders outside the port's two folders.
RENDERED_TESTS = (
    "tests/cli/test_{model}_command.py",
    "tests/image_generation/helpers/tiny_{model}_checkpoint.py",
    "tests/image_generation/helpers/tiny_{model}_components.py",
    "tests/image_generation/helpers/tiny_{model}_sizes.py",
    "tests/image_generation/test_{model}_latent_creator.py",
    "tests/image_generation/test_generate_image_{model}.py",
    "tests/image_generation/test_tiny_edit_image_{model}.py",
    "tests/image_generation/test_tiny_generate_image_{model}.py",
    "tests/lora/test_{model}_lora_mapping.py",
    "tests/model_saving/test_tiny_model_saving_{model}.py",
    "tests/parity/test_{model}_checkpoint_keys.py",
    "tests/parity/test_{model}_parity.py",
    "tests/training/test_{model}_training_adapter.py",
)


def finish_copy(checkout: Path, model: str) -> int:
    """Wire ``model`` into ``checkout``. Returns 0, or 2 after taking back what this copy rendered."""
    known = _is_known(checkout, model)
    try:
        results = wiring.wire(Checkout(checkout), load_port(checkout, model))
    except PortError as error:
        if not known:
            _take_back(checkout, model)
        print(f"mflux-port: {said(error)}", file=sys.stderr)
        return 2
    for result in results:
        print(f"  {result}")
    for line in what_is_left(checkout, model):
        print(line)
    print(f"next: porting/{model}/PORTING.md; `mflux-port status` says where the port stands")
    return 0


def rendered_files(checkout: Path, model: str) -> list[Path]:
    """Every file of the port that exists: its package, its porting folder, its tests."""
    folders = [checkout / f"src/mflux/models/{model}", checkout / f"porting/{model}"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    tests = [checkout / name.format(model=model) for name in RENDERED_TESTS]
    return sorted([*files, *(path for path in tests if path.is_file())])


def _is_known(checkout: Path, model: str) -> bool:
    # A port that git tracks, or that was wired once, is somebody's work: it is never taken back.
    if any((checkout / f"porting/{model}").glob("wiring.*")):
        return True
    return bool(_git(checkout, "ls-files", "--", f"porting/{model}", f"src/mflux/models/{model}"))


def _take_back(checkout: Path, model: str) -> None:
    for path in rendered_files(checkout, model):
        path.unlink()
    folders = {parent for name in RENDERED_TESTS for parent in [(checkout / name).parent]}
    folders |= set((checkout / f"src/mflux/models/{model}").rglob("*"))
    folders |= set((checkout / f"porting/{model}").rglob("*"))
    folders |= {checkout / f"src/mflux/models/{model}", checkout / f"porting/{model}", checkout / "porting"}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""
