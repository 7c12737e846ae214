"""What was typed after ``mflux-port start``, and whether it is valid."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.port.answers import verify_present


@dataclass(frozen=True)
class Request:
    """What was typed. ``checkpoint`` is relative to ``root``, ``typed`` is relative to where the command was typed."""

    root: Path
    checkpoint: str = ""
    typed: str = ""
    model: str = ""
    repo: str = ""
    steps: str = ""
    guidance: str = ""
    template: str = ""
    python: str = ""
    checkout: str = ""

    def again(self, **changed: str) -> str:
        """The command that continues, with the values in ``changed`` replaced."""
        names = ("model", "repo", "steps", "guidance", "template", "python", "checkout")
        given = {name: getattr(self, name) for name in names} | changed
        flags = [part for name, value in given.items() if value for part in (f"--{name}", value)]
        return shlex.join(["mflux-port", "start", self.typed or self.checkpoint, *flags])

    @property
    def place(self) -> str:
        """The checkpoint, independent of the working directory: a folder's absolute path, or the repo id."""
        local = self.root / self.checkpoint
        return str(local.resolve()) if local.exists() else self.checkpoint

    def answers(self) -> dict[str, object]:
        """The options that were typed, by question. Raises PortError for a value that no question accepts."""
        typed = {
            "model": self.model,
            "hf_repo": self.repo,
            "steps": _number(self.steps),
            "guidance": _number(self.guidance),
        }
        given = {name: value for name, value in typed.items() if value != ""}
        verify_present(given, "the command line")
        return given | ({"supports_guidance": given["guidance"] > 1} if "guidance" in given else {})

    def verify_checkpoint(self) -> None:
        """Raise PortError for a folder or file that ``inspect`` would refuse, or that has no pipeline to compare with.

        A repo is not looked up.
        """
        from mflux_port.checkpoint.layout import open_checkpoint
        from mflux_port.checkpoint.sources import is_repo_id

        local = self.root / self.checkpoint
        if not local.exists() and is_repo_id(self.checkpoint):
            return
        checkpoint = open_checkpoint(self.typed or self.checkpoint)
        checkpoint.verify_complete()
        if not checkpoint.model_index:
            raise PortError(
                f"{checkpoint.where} has no model_index.json, which names the reference's pipeline; "
                "start from a folder in diffusers layout, or copy by hand (docs/start.md)"
            )


def _number(text: str) -> object:
    """The number that a text spells, otherwise the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
