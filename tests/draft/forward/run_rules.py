"""Prints the draft of ``rules_reference.py`` as JSON. Run where torch and MLX are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mflux_port.draft.forward.draft import drafted
from mflux_port.draft.forward.proof.replay import Replay
from mflux_port.draft.forward.record.groups import group_of
from mflux_port.draft.forward.record.init_arrays import arguments_kept
from mflux_port.draft.forward.twin.inputs import vae_runs
from mflux_port.draft.forward.twin.twin import randomise

sys.path.insert(0, str(Path(__file__).resolve().parent))
import rules_reference  # noqa: E402


def main() -> None:
    import torch

    with arguments_kept():
        model = rules_reference.Model().eval()
    randomise(model)
    runs = []
    for batch, length in ((1, 5), (1, 4), (2, 3)):
        x = torch.randn(batch, length, 8, generator=torch.Generator().manual_seed(length))
        runs.append(("forward", {"x": x, "mask": None, "return_dict": False}))
    resized = {(group_of(model.resized), "width")}
    texts = []
    for _ in range(2):
        forwards = drafted(model, runs, resized, rebuild=rules_reference.Model)
        texts.append({group.split("(")[0].rsplit(".", 1)[-1]: forward.key for group, forward in forwards.items()})
    told = {}
    for group, forward in forwards.items():
        name = group.split("(")[0].rsplit(".", 1)[-1]
        told[name] = {"text": forward.key, "state": forward.state.kind, "line": forward.state.line}
        told[name]["reads"] = sorted(name for _, name in forward.others)
    told |= blocks()
    told["Blocks of a port without training"] = blocks(trains=False)["Blocks"]
    print(
        json.dumps(
            {"classes": told, "same": texts[0] == texts[1], "encoded": encoded_sides(), "nearest": Calls().group("one")}
        )
    )


def encoded_sides() -> list[list[int]]:
    """The sides of the images that a VAE of scale 32 is recorded with."""

    class Vae:
        def decode(self, z):
            pass

        def encode(self, x):
            if any(side % 32 for side in x.shape[-2:]):
                raise ValueError

    runs = vae_runs(Vae(), {"latent_channels": 4})
    return [list(inputs["x"].shape[-2:]) for method, inputs in runs if method == "encode"]


class Calls(Replay):
    """Three calls of one group whose errors and limits are known."""

    def __init__(self):
        self.calls = {"one": [(1e-6, 1e-5), (1e-4, 2e-4), (2e-6, 1e-5)]}

    def _call(self, group: str, call: tuple[float, float]) -> tuple[float, float]:
        return call


def blocks(trains: bool = True) -> dict[str, dict]:
    """A small transformer: its classes as text and state."""
    import torch

    model = rules_reference.Blocks().eval()
    randomise(model)
    runs = []
    for batch, length in ((1, 5), (2, 3)):
        x = torch.randn(batch, length, 8, generator=torch.Generator().manual_seed(length))
        runs.append(("forward", {"hidden_states": x, "position_ids": torch.arange(length)}))
    forwards = drafted(model, runs, trains=trains)
    names = {group: group.split("(")[0].rsplit(".", 1)[-1] for group in forwards}
    return {names[group]: {"text": forward.key, "state": forward.state.kind, "line": forward.state.line}
            for group, forward in forwards.items()}  # fmt: skip


if __name__ == "__main__":
    main()
