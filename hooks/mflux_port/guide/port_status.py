"""A port's state, read from its files; the functions of ``next_action`` use it."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.checkpoint.keylist import KEYLIST
from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.progress import Progress, progress
from mflux_port.port.checkpoint_place import checkpoint_place
from mflux_port.port.guide_boxes import LEDGER_BOX
from mflux_port.port.last_result import COMPARISON, LEDGER, fresh_result
from mflux_port.port.port import Port
from mflux_port.template.project import address
from mflux_port.update.port_state import PortState, port_state

INDEX = "model_index.json"
_SMALL = 1_000_000_000  # bytes


class PortStatus:
    """One port in one checkout. Raises PortError when the answers cannot be read."""

    def __init__(self, checkout: Checkout, facts: Facts, model: str):
        self.checkout, self.facts, self.model = checkout, facts, model
        self.state: PortState = port_state(checkout, model)
        self.package = Package(facts, model)
        self.port: Port = self.package.port
        self.progress: Progress = progress(self.package)

    @property
    def root(self) -> Path:
        return self.checkout.root

    @property
    def folder(self) -> str:
        return self.port.porting_folder

    def has(self, name: str) -> bool:
        """Whether the porting folder has a file, by its path there."""
        return (self.root / self.folder / name).is_file()

    @property
    def tool(self) -> str:
        """How to run the commands that import mflux."""
        source = address(self.port.template, self.port.template_commit)
        return f"uv run --with {shlex.quote(source) if source else '<template>'} mflux-port"

    @cached_property
    def checkpoint(self) -> str:
        return checkpoint_place(self.root, self.port)

    @property
    def local_model(self) -> str:
        """The option of a script that names a local checkpoint; empty for the port's repo, which is the default."""
        return "" if self.checkpoint == self.port.hf_repo else f" --model {shlex.quote(self.checkpoint)}"

    @property
    def key_list(self) -> bool:
        return (self.root / KEYLIST.format(model=self.model)).is_file()

    @cached_property
    def twin(self) -> str:
        """The checkpoint that both sides can run on any machine: a tiny twin, or a small one; empty without either."""
        if self.has("artifacts/tiny/sizes.json"):
            return f"{self.folder}/artifacts/tiny"
        return self.checkpoint if is_small(Path(self.checkpoint)) else ""

    @cached_property
    def stages(self) -> dict[str, evidence.Box]:
        return evidence.stages(self.package)

    def is_open(self, stage: str) -> bool:
        return stage not in self.stages or bool(self.stages[stage].problem)

    @property
    def open_stages(self) -> list[str]:
        """The stages to prove, from the image backwards; the run in bfloat16 is the last."""
        return [stage for stage in [*evidence.wanted(self.package), evidence.BFLOAT16] if self.is_open(stage)]

    @property
    def was_compared(self) -> bool:
        """Whether any stage has figures, good or bad."""
        return any(box.figures for box in self.stages.values())

    @property
    def accounted(self) -> bool:
        """Whether the box of the ledger is ticked; true for a PORTING.md without that box."""
        found = [box for box in evidence.boxes(self.package) if LEDGER_BOX.search(box.text)]
        return all(box.ticked for box in found)

    @cached_property
    def ledger(self) -> dict | None:
        """The last ledger, if nothing that it read has changed."""
        package = self.root / self.port.folder
        read = [package / "weights", package / "model", self.root / self.folder / "waivers.yml"]
        return fresh_result(self.root / LEDGER.format(model=self.model), map(str, read))

    @cached_property
    def comparison(self) -> dict | None:
        """The last comparison with the reference, if neither the port nor the recording has changed."""
        folder = self.root / self.folder
        read = [self.root / self.port.folder, folder / "waivers.yml", folder / "artifacts/reference.safetensors"]
        return fresh_result(self.root / COMPARISON.format(model=self.model), map(str, read))

    @cached_property
    def changes(self) -> list[str]:
        """The files that git reports as changed or new; empty without git."""
        return self.facts.git("status", "--porcelain")

    @property
    def branch(self) -> str:
        """The branch, empty without git."""
        return next(iter(self.facts.git("branch", "--show-current")), "")


def is_small(folder: Path) -> bool:
    """Whether a folder is a complete checkpoint that any machine can run."""
    weights = [path.stat().st_size for path in folder.rglob("*.safetensors")] if (folder / INDEX).is_file() else []
    return bool(weights) and sum(weights) < _SMALL
