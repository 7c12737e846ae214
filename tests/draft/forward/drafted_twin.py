"""A family of ``families.py``, drafted and proven, with its port kept in a folder for further tests."""

from __future__ import annotations

import copy
import sys
import tempfile
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

from mflux_port.draft.forward.draft import resized, written
from mflux_port.draft.forward.proof.replay import Replay
from mflux_port.draft.forward.proof.twin_port import PACKAGE, TOP, signatures, write_port
from mflux_port.draft.forward.proof.verify import prove
from mflux_port.draft.forward.record.recorder import calls_of
from mflux_port.draft.forward.twin.twin import make_twin

sys.path.insert(0, str(Path(__file__).resolve().parent))
import families  # noqa: E402

FAMILIES = families.KNOWN | families.UNSEEN | families.NEW | families.STUDIED


@dataclass
class DraftedTwin:
    """``part``: transformer, text_encoder or vae. ``order``: the groups that were replayed, children first."""

    name: str
    part: str
    model: object
    config: dict
    runs: list
    forwards: dict
    recording: object
    folder: Path
    order: list[str]

    @property
    def proven(self) -> list[str]:
        return [group for group in self.order if self.forwards[group].is_verified]

    @property
    def open_ends(self) -> list[str]:
        return [group for group in self.order if not self.forwards[group].is_verified]

    def replay(self, calls: dict | None = None, bridged: bool = True) -> Replay:
        """The port with the twin's weights, imported again; classes that are not proven are bridged to torch.

        Without ``bridged``, the caller bridges them, after the classes that they hold.
        """
        forget_port()
        sys.path.insert(0, str(self.folder))
        taken = {group: signatures(forward, self.recording) for group, forward in self.forwards.items()}
        calls = self.recording.calls if calls is None else calls
        replay = Replay(self.model, calls, taken, (f"{PACKAGE}.model", TOP))
        sys.path.remove(str(self.folder))
        return self._bridged(replay) if bridged else replay

    def replay_again(self, replay: Replay) -> Replay:
        """A new port of the classes that are imported now."""
        return self._bridged(Replay(self.model, replay.calls, replay.signatures, (f"{PACKAGE}.model", TOP)))

    def _bridged(self, replay: Replay) -> Replay:
        for group in self.open_ends:
            replay.bridge(group)
        return replay

    def calls(self, runs: list) -> dict:
        """The calls of every group in runs of a copy of the twin."""
        return calls_of(copy.deepcopy(self.model), runs)


def drafted_twin(name: str) -> DraftedTwin:
    """Draft a family. Raises when no inputs are known for its twin."""
    part, library, cls, config = FAMILIES[name]
    component = types.SimpleNamespace(name=part, library=library, class_name=cls, config=config, tensors={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = make_twin(component, part)
        if not twin.runs:
            raise ValueError(twin.reason)
        changed = resized(component, twin.model)
        forwards, recording = written(twin.model, twin.runs, changed, lambda line: None, name, twin.rebuild)
        prove(forwards, recording)
    folder = Path(tempfile.mkdtemp(prefix=f"drafted-{name}-"))
    order = write_port(folder, forwards, recording)
    return DraftedTwin(name, part, twin.model, twin.config, twin.runs, forwards, recording, folder, order)


def forget_port() -> None:
    """Let the next import read the port's files again."""
    for module in [one for one in sys.modules if one.split(".")[0] == PACKAGE]:
        del sys.modules[module]


def short(group: str) -> str:
    """A group's class, with its attention processor."""
    return group.split("(")[0].rsplit(".", 1)[-1]
