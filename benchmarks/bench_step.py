"""One denoise step of drafted transformers next to mflux's own hand-written ports, with the same weights and inputs.

The models are of medium width, so that most of the time is arithmetic. Both sides run compiled, as mflux runs them, and
take turns; a drafted step may take 1.15 times as long. On the CPU, CPU time counts.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace

from mflux_port.checkout import releases
from mflux_port.template.project import project_root

from benchmarks.measure import Action, Row, medians

LIMIT = 1.15
DIFFUSERS = "diffusers==0.42.*"
HEIGHT, WIDTH, TEXT = 8, 6, 16  # the grid of the latents, and the prompt's tokens
# Values that differ from the released config.
SIZES = {
    "z_image": {"dim": 512, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 4, "n_kv_heads": 4, "cap_feat_dim": 256},
    "flux2_klein": {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 4, "joint_attention_dim": 256},
    "ernie_image": {"hidden_size": 512, "num_attention_heads": 4, "num_layers": 3, "ffn_hidden_size": 1536, "text_in_dim": 256},
    "qwen_image": {"num_layers": 2, "num_attention_heads": 4, "joint_attention_dim": 256},
}  # fmt: skip


def rows() -> list[Row]:
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    mflux = releases.source(releases.NEWEST) / "src"
    paths = os.pathsep.join(map(str, (project_root(), project_root() / "hooks", mflux)))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", "benchmarks.bench_step"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [Row(f"a drafted step of {name} / mflux's own", value, "×", LIMIT) for name, value in found.items()]


def measure(name: str) -> float:
    """The time of a drafted step divided by that of mflux's own. Raises when the two sides differ.

    Runs in an environment with torch, diffusers and mflux.
    """
    import mlx.core as mx

    drafted, model = _drafted(name)
    inputs = _inputs(name)
    ours, theirs = _step(drafted, inputs), OWN[name](model, inputs)
    _must_agree(name, _array(ours()), _array(theirs()))
    sides = {"drafted": mx.compile(ours), "own": mx.compile(theirs)}
    actions = {key: Action(lambda run=run: mx.eval(run())) for key, run in sides.items()}
    # Other programs on the machine do not change CPU time; it does not include a GPU's work.
    clock = time.process_time if mx.default_device() == mx.Device(mx.cpu) else time.perf_counter
    times = medians(actions, clock=clock)
    return times["drafted"] / times["own"]


def _drafted(name: str):
    """The drafted transformer at medium width, and the torch model whose weights it has.

    It is not replayed: ``measure`` compares it with mflux's own.
    """
    import tempfile
    from pathlib import Path

    from mflux_port.draft.forward.draft import resized, written
    from mflux_port.draft.forward.proof.replay import Replay
    from mflux_port.draft.forward.proof.result import VERIFIED, State
    from mflux_port.draft.forward.proof.twin_port import PACKAGE, TOP, write_port
    from mflux_port.draft.forward.twin.twin import make_twin, randomise
    from mflux_port.draft.tree.from_reference import build

    from tests.draft.forward.drafted_twin import FAMILIES, forget_port

    part, library, cls, config = FAMILIES[name]
    component = types.SimpleNamespace(name=part, library=library, class_name=cls, config=config, tensors={})
    twin = make_twin(component, part)
    changed = resized(component, twin.model)
    forwards, recording = written(twin.model, twin.runs, changed, lambda line: None, name, twin.rebuild)
    for forward in forwards.values():
        forward.state = State(VERIFIED)
    model = build(component, config | SIZES[name], "cpu").eval()
    randomise(model)
    with tempfile.TemporaryDirectory(prefix="step-") as folder:
        write_port(Path(folder), forwards, replace(recording, root=model))
        forget_port()
        sys.path.insert(0, folder)
        port = Replay(model, {}, {}, (f"{PACKAGE}.model", TOP)).port
        sys.path.remove(folder)
    return port, model


def _step(port, inputs: dict) -> Callable:
    """A step as in a port's loop: what is the same in every step is computed before the first."""
    once = getattr(port, "get_rotary_embeddings", None)
    if once is not None:
        given = {argument: inputs[argument] for argument in inspect.signature(once).parameters}
        inputs = inputs | {"rotary_embeddings": once(**given)}
    return lambda: port(**inputs)


def _inputs(name: str) -> dict:
    import mlx.core as mx

    mx.random.seed(1)
    noise = lambda *shape: mx.random.normal(shape)  # noqa: E731
    rows, columns = mx.meshgrid(mx.arange(HEIGHT), mx.arange(WIDTH), indexing="ij")
    zeros = mx.zeros((HEIGHT * WIDTH,), mx.int32)
    grid = mx.stack([zeros, rows.flatten(), columns.flatten(), zeros], axis=-1)
    text = mx.zeros((TEXT, 4), mx.int32)
    text[:, 3] = mx.arange(TEXT)
    times, tokens = mx.array([0.5]), noise(1, HEIGHT * WIDTH, 128)
    return {
        "z_image": {"x": [noise(16, 1, 2 * HEIGHT, 2 * WIDTH)], "t": times, "cap_feats": [noise(TEXT, 256)]},
        "flux2_klein": {"hidden_states": tokens, "encoder_hidden_states": noise(1, TEXT, 256), "timestep": times,
                        "img_ids": grid, "txt_ids": text, "guidance": None},
        "ernie_image": {"hidden_states": noise(1, 128, HEIGHT, WIDTH), "timestep": mx.array([500.0]),
                        "text_bth": noise(1, TEXT, 256), "text_lens": mx.array([TEXT])},
        "qwen_image": {"hidden_states": tokens[..., :64], "encoder_hidden_states": noise(1, TEXT, 256), "timestep": times,
                       "encoder_hidden_states_mask": mx.ones((1, TEXT), mx.int64), "img_shapes": [[(1, HEIGHT, WIDTH)]]},
    }[name]  # fmt: skip


# mflux's own ports, each as a call without arguments.


def _z_image(model, given: dict) -> Callable:
    from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
    from mflux.models.z_image.weights.z_image_weight_mapping import ZImageWeightMapping

    port = ZImageTransformer(**_without(SIZES["z_image"], "n_kv_heads"))
    _load(port, model, ZImageWeightMapping.get_transformer_mapping())
    port.set_float32(True)
    x, t, text = given["x"][0], given["t"], given["cap_feats"][0]
    return lambda: -port(x=x, timestep=t, sigmas=t, cap_feats=text)


def _flux2_klein(model, given: dict) -> Callable:
    from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
    from mflux.models.flux2.weights.flux2_weight_mapping import Flux2WeightMapping

    port = Flux2Transformer(**SIZES["flux2_klein"])
    _load(port, model, Flux2WeightMapping.get_transformer_mapping())
    return lambda: port(**given)


def _ernie_image(model, given: dict) -> Callable:
    from mflux.models.ernie_image.model.ernie_transformer.transformer import ErnieTransformer
    from mflux.models.ernie_image.weights.ernie_weight_mapping import ErnieWeightMapping

    port = ErnieTransformer(**SIZES["ernie_image"])
    _load(port, model, ErnieWeightMapping.get_transformer_mapping())
    return lambda: port(*given.values())


def _qwen_image(model, given: dict) -> Callable:
    from mflux.models.qwen.model.qwen_transformer.qwen_transformer import QwenTransformer
    from mflux.models.qwen.weights.qwen_weight_mapping import QwenWeightMapping

    port = QwenTransformer(**SIZES["qwen_image"])
    _load(port, model, QwenWeightMapping.get_transformer_mapping())
    config = types.SimpleNamespace(height=16 * HEIGHT, width=16 * WIDTH)
    names = ("hidden_states", "encoder_hidden_states", "encoder_hidden_states_mask")
    return lambda: port(t=0.5, config=config, **{name: given[name] for name in names})


OWN = {"z_image": _z_image, "flux2_klein": _flux2_klein, "ernie_image": _ernie_image, "qwen_image": _qwen_image}


def _without(sizes: dict, name: str) -> dict:
    return {key: value for key, value in sizes.items() if key != name}


def _load(port, model, mapping: list) -> None:
    from mflux.models.common.weights.mapping.weight_mapper import WeightMapper
    from mflux_port.draft.forward.proof.arrays import to_mlx

    weights = {key: to_mlx(value) for key, value in model.state_dict().items()}
    port.update(WeightMapper.apply_mapping(weights, mapping), strict=False)


def _array(value):
    return value[0] if isinstance(value, (list, tuple)) else value


def _must_agree(name: str, ours, theirs) -> None:
    import mlx.core as mx

    gap = mx.abs(ours.reshape(-1) - theirs.reshape(-1)).max() / mx.abs(theirs).max()
    if not gap.item() < 1e-2:
        raise ValueError(f"{name}: the drafted transformer and mflux's differ by {gap.item():.1e}")


if __name__ == "__main__":
    print(json.dumps({name: measure(name) for name in SIZES}))
