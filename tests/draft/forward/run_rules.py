"""Prints the draft of ``rules_reference.py`` as JSON. Run where torch and MLX are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from mflux_port.draft.forward.draft import drafted
from mflux_port.draft.forward.proof.arrays import distance
from mflux_port.draft.forward.proof.replay import Replay
from mflux_port.draft.forward.record.groups import group_of
from mflux_port.draft.forward.record.init_arrays import arguments_kept
from mflux_port.draft.forward.record.recorder import ModuleCall, clone
from mflux_port.draft.forward.record.small_inputs import scaled_calls
from mflux_port.draft.forward.twin.runs import find_runs, vae_runs
from mflux_port.draft.forward.twin.twin import make_twin, randomise

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
            {
                "classes": told,
                "same": texts[0] == texts[1],
                "encoded": [encoded_sides(32), encoded_sides(1)],
                "inputs": inputs_of_a_choosy_model(),
                "refused": refused(),
                "nearest": Calls().group("one"),
                "compared": compared(),
                "scaled": scaled(),
            }
        )
    )


def encoded_sides(step: int) -> list[list[int]]:
    """The sides of the images that a VAE is recorded with that takes multiples of ``step``."""

    class Vae:
        def decode(self, z):
            pass

        def encode(self, x):
            if any(side % step for side in x.shape[-2:]):
                raise ValueError

    runs = vae_runs(Vae(), {"latent_channels": 4})
    return [list(inputs["x"].shape[-2:]) for method, inputs in runs if method == "encode"]


def inputs_of_a_choosy_model() -> list[str]:
    """The inputs that are found for a model which needs some of its many optional ones."""
    config = {"in_channels": 4, "text_embed_dim": 24, "text_embed_2_dim": 20}
    return sorted(find_runs(rules_reference.Choosy(), config)[0][1])


def refused() -> str:
    """Why no twin is made from a config that leaves out the sizes of a large class."""
    component = SimpleNamespace(library="diffusers", class_name="FluxTransformer2DModel", config={"in_channels": 64})
    twin = make_twin(component, "transformer")
    return twin.reason if twin.model is None and not twin.runs else "made"


def compared() -> list[float]:
    """The distance of results whose arrays are in other places, whose numbers differ, and that are equal."""
    import torch

    x = torch.ones(2)
    return [distance((x, None), (None, x)), distance((x, 1), (x, 2)), distance((x, None, 3), (x, None, 3))]


def scaled() -> dict[str, list[float]]:
    """The largest number in the repeated calls of a layer with weights and of one without, recorded with 0.5."""
    import torch

    layers = {"weights": torch.nn.Linear(1, 1), "none": torch.nn.SiLU()}
    call = ModuleCall("", "forward", 0, (torch.full((1,), 0.5),), {}, None)
    return {name: [float(args[0]) for _, args, _, _ in scaled_calls(one, call, clone)] for name, one in layers.items()}


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
