"""Train the port for one step, with its own adapter and mflux's own trainer, on the reference's latents and noise."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import mlx.optimizers
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten

from parity.answers import FAIL, NOT_RUN, PASS, import_class
from parity.compare import training as compare
from parity.compare.claim_row import Row
from parity.compare.limits import Limits
from parity.compare.lora import Layers
from parity.compare.pairing import Pairing
from parity.errors import ParityError
from parity.record.lora_files import RANK, START
from parity.record.recording import Recording
from parity.run import sampling
from parity.run.lora import stored_effects
from parity.run.mlx_port import Port
from parity.run.mlx_taps import to_numpy
from parity.run.patches import Patches
from parity.run.stages import Judge
from parity.waivers import Waivers

SCALE = 2.0  # alpha / rank of an adapter that is trained and saved
FACTORS = ("lora_A", "lora_B")
NONE = Waivers()
Own = dict[tuple[str, int], np.ndarray]


def judge(
    port: Port, where: str, recording: Recording, picture: Path, say: Callable[[Row], None], waivers: Waivers = NONE
) -> list[Row]:
    """All rows. ``where`` is the adapter's module:Class, ``picture`` a file that the adapter encodes as its data."""
    orders = Judge(port, recording, Limits("float32"), Pairing(), bisect=False).orders
    if orders.loop is None:
        raise ParityError(f"the port's latents are not known ({'; '.join(orders.notes)}); run run_mflux.py first")
    adapter = build_adapter(where, port)
    layers = Layers(recording, stored_effects(adapter.transformer()))
    training = Training(adapter, recording, orders.loop, picture)
    rows: list[Row] = []

    def add(*found: Row) -> None:
        for row in found:
            rows.append(row)
            say(row)

    add(training.sigmas())
    add(training.targets(layers))
    if rows[-1].status == FAIL:
        return rows
    timesteps, weighting = training.schemes(waivers)
    add(training.data(), weighting)
    loss, gradients = training.step()
    add(compare.loss(recording.facts["lora"]["losses"], loss, training.clean.size))
    add(*compare.matrices(recording, "gradient", _by_layer(gradients, layers, recording), compare.GRADIENT))
    add(*compare.matrices(recording, "update", _by_layer(training.updates(), layers, recording), compare.UPDATE))
    add(training.saved(layers), timesteps)
    return rows


def build_adapter(where: str, port: Port):
    """The port's training adapter around the loaded port. Raises ParityError when it cannot be built."""
    kind, patches = import_class(where), Patches()

    def loaded(*args, **kwargs):
        return port.model

    for module in {sys.modules[owner.__module__] for owner in kind.__mro__ if owner.__module__ in sys.modules}:
        for name, value in list(vars(module).items()):
            if value is type(port.model):
                patches.set(module, name, loaded)
    try:
        wanted = {"model_config": port.model.model_config, "quantize": None, "model_path": None}
        known = inspect.signature(kind).parameters
        return kind(**{name: value for name, value in wanted.items() if name in known})
    except Exception as error:  # noqa: BLE001 - an unfinished adapter may raise anything
        raise ParityError(
            f"{where} cannot be built ({type(error).__name__}: {error}); run its fast tests first"
        ) from None
    finally:
        patches.undo()


class Training:
    """The adapter with the LoRA of the recording in it, and one batch of the recording's latents."""

    def __init__(self, adapter, recording: Recording, loop, picture: Path):
        from mflux.models.common.training.trainer import TrainingTrainer

        self.adapter, self.recording, self.facts = adapter, recording, recording.facts["lora"]
        self.spec = self._spec()
        self.config = adapter.create_config(self.spec, width=recording.facts["width"], height=recording.facts["height"])
        with contextlib.redirect_stdout(io.StringIO()):
            adapter.load_lora_adapter(path=recording.path.with_suffix("") / f"{START.name}.safetensors")
        adapter.freeze_base()
        TrainingTrainer._unfreeze_lora_layers(adapter.transformer())
        self.loop = loop
        self.drawn, self.cond = self._encoded(picture)
        self.clean, self.noise = (
            mx.array(loop.of_source(recording.get(f"training/latents/in/{n}"), np.zeros(loop.ids.shape))).reshape(
                self.drawn.shape
            )
            for n in range(2)
        )

    def sigmas(self) -> Row:
        """The sigmas of the adapter's own configuration."""
        own = to_numpy(mx.array(self.config.scheduler.sigmas)).reshape(-1)
        return compare.sigmas(self.recording.get("scheduler/scheduler/out/0").reshape(-1), own)

    def targets(self, layers: Layers) -> Row:
        """The layers that the adapter's own mapping makes trainable."""
        trained = {path for path, _ in _trained(self.adapter.transformer())}
        missing = [
            layer
            for layer in self.facts["layers"]
            if (places := layers.places.get(f"{self.facts['component']}.{layer}"))
            and not {p for p, *_ in places} & trained
        ]
        if not trained:
            return Row(
                "targets",
                FAIL,
                note="no LoRA is trained after load_lora_adapter; pass bake_lora=False and role to LoRALoader",
            )
        wrong = self._swapped(layers)
        if wrong:
            return Row("targets", FAIL, note=wrong)
        further = self._further()
        if further:
            note = f"parameters besides those of LoRA are trained ({len(further)}), such as {further[0]}"
            return Row("targets", FAIL, note=f"{note}; freeze_base must freeze them")
        count = len(self.facts["layers"]) - len(missing)
        note = f"{count} layers" + (
            f"; {len(missing)} have no LoRA target, such as {missing[0]} (see --lora)" if missing else ""
        )
        return Row("targets", PASS if count else FAIL, note=note)

    def _further(self) -> list[str]:
        """The parameters that mflux's trainer would change besides the matrices of LoRA."""
        trained = {id(part[name]) for _, part in _trained(self.adapter.transformer()) for name in FACTORS}
        every = tree_flatten(self.adapter.model().trainable_parameters())
        return [name for name, values in every if id(values) not in trained]

    def _swapped(self, layers: Layers) -> str:
        """A layer that received another layer's matrices; empty if none did."""
        stored = mx.load(str(self.recording.path.with_suffix("") / f"{START.name}.safetensors"))
        downs = {layer: to_numpy(stored[keys[0]]) for layer, keys in self.facts["layers"].items()}
        parts = dict(_trained(self.adapter.transformer()))
        for layer, down in downs.items():
            for path, *_ in layers.places.get(f"{self.facts['component']}.{layer}", []):
                own = to_numpy(parts[path].lora_A).T if path in parts else down
                other = next((name for name, values in downs.items() if np.array_equal(values, own)), "")
                if not np.array_equal(own, down) and other:
                    return f"{layer} is given the matrices of {other}"
        return ""

    def data(self) -> Row:
        """The latents that the adapter makes of a picture."""
        if "data/right/out/0" not in self.recording:
            return Row("data", NOT_RUN, note="the recording has no latents of a picture; compare encode_data by hand")
        size = self.recording.get("data/right/out/0").size
        return compare.data(self.recording, self.loop.to_source(to_numpy(self.drawn), size))

    def schemes(self, waivers: Waivers) -> list[Row]:
        """How timesteps are drawn and losses weighted, compared with diffusers' schemes."""
        return sampling.rows(self.adapter, self.spec, self._item(), self.facts["schemes"], waivers)

    def _item(self):
        from mflux.models.common.training.dataset.batch import DataItem

        facts = self.recording.facts
        return DataItem(0, facts["prompt"], "", self.clean, self.cond, facts["width"], facts["height"])

    def step(self) -> tuple[float, dict[str, mx.array]]:
        """The loss of one step, and its gradients by path."""
        from mflux.models.common.training.dataset.batch import Batch
        from mflux.models.common.training.trainer import TrainingTrainer

        batch = Batch([self._item()], random.Random(0))
        patches = Patches()
        patches.set(mx.random, "normal", self._normal(mx.random.normal))
        self._force_sigmas()

        def loss(batch):
            return TrainingTrainer.compute_loss(self.adapter, self.spec, self.config, batch)

        try:
            value, gradients = nn.value_and_grad(model=self.adapter.model(), fn=loss)(batch)
            self._gradients = gradients
            # Trained parameters without a gradient, such as a frozen matrix, get zeros.
            shapes = {
                f"{path}.{name}": part[name] for path, part in _trained(self.adapter.transformer()) for name in FACTORS
            }
            return float(value), {path: mx.zeros_like(array) for path, array in shapes.items()} | _factors(gradients)
        finally:
            patches.undo()

    def _normal(self, original: Callable) -> Callable:
        """The recording's noise the first time it is drawn; noise that is drawn again differs, as it would in training."""
        draws = itertools.count()

        def normal(shape=(), dtype=mx.float32, **rest):
            if int(np.prod(shape, dtype=np.int64)) != self.noise.size:
                return original(shape, dtype=dtype, **rest)
            number = next(draws)
            noise = mx.roll(self.noise.reshape(-1), number)
            return noise.reshape(shape).astype(dtype)

        return normal

    def updates(self) -> dict[str, mx.array]:
        """How far a few optimizer steps move each matrix."""
        settings = {**self.facts["optimizer"], "betas": list(self.facts["optimizer"]["betas"])}
        optimizer = mlx.optimizers.AdamW(**settings, bias_correction=True)
        before = _factors(self.adapter.model().trainable_parameters())
        for update in range(self.facts["updates"]):
            if update:
                self.step()
            optimizer.update(self.adapter.model(), self._gradients)
            mx.eval(self.adapter.model().trainable_parameters())
        after = _factors(self.adapter.model().trainable_parameters())
        return {path: after[path] - before[path] for path in before}

    def saved(self, layers: Layers) -> Row:
        """The adapter as saved with an alpha that differs from its rank, compared with what was trained."""
        parts = dict(_trained(self.adapter.transformer()))
        for part in parts.values():
            part.scale = SCALE
        self.spec.lora_layers.targets = [
            SimpleNamespace(module_path=path, blocks=None, rank=RANK, alpha=SCALE * RANK) for path in parts
        ]
        products = {path: SCALE * to_numpy(part.lora_A @ part.lora_B).T for path, part in parts.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "adapter.safetensors")
            self.adapter.save_lora_adapter(path=path, training_spec=self.spec)
            keys = {key: to_numpy(values) for key, values in mx.load(str(path)).items()}
        return compare.saved(keys, self.facts["spellings"], _by_layer(products, layers, self.recording, 2))

    def _spec(self) -> SimpleNamespace:
        facts, at = self.recording.facts, self.facts["at"]
        loop = SimpleNamespace(timestep_low=at, timestep_high=at + 1, timestep_type=None)
        guidance = facts["applied"]["value"]
        return SimpleNamespace(
            steps=facts["steps"], guidance=1.0 if guidance is None else guidance, training_loop=loop, model="", seed=0,
            lora_layers=SimpleNamespace(targets=[]), gradient_checkpointing=False, low_ram=False, is_edit=False,
        )  # fmt: skip

    def _encoded(self, picture: Path):
        facts = self.recording.facts
        return self.adapter.encode_data(
            data_id=0, image_path=picture, prompt=facts["prompt"], width=facts["width"], height=facts["height"]
        )

    def _force_sigmas(self) -> None:
        # A wrong schedule has a separate row; the loss is judged at the reference's sigma.
        scheduler, wanted = self.config.scheduler, mx.array(self.recording.get("scheduler/scheduler/out/0").reshape(-1))
        if isinstance(scheduler, _WithSigmas):
            return
        forced = _WithSigmas(scheduler, wanted)
        self.config._scheduler = forced
        original = self.adapter.create_config

        def create_config(*args, **kwargs):
            config = original(*args, **kwargs)
            config._scheduler = forced
            return config

        self.adapter.create_config = create_config


class _WithSigmas:
    """A scheduler with other sigmas."""

    def __init__(self, scheduler, sigmas: mx.array):
        self._scheduler, self.sigmas = scheduler, sigmas

    def __getattr__(self, name: str):
        return getattr(self._scheduler, name)


def _trained(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The LoRA layers that are trained, by the path of the layer that they change."""
    found = []
    for path, part in network.named_modules():
        if getattr(part, "_mflux_lora_role", None) == "train":
            found.append((path.partition(".loras.")[0], part))
    return found


def _factors(tree: dict) -> dict[str, mx.array]:
    """The LoRA matrices in a parameter tree, by their paths below the transformer."""
    names = dict(tree_flatten(tree))
    return {name.partition(".")[2]: array for name, array in names.items() if name.endswith(FACTORS)}


def _by_layer(arrays: dict[str, mx.array | np.ndarray], layers: Layers, recording: Recording, product: int = 0) -> Own:
    """The matrices, each in the place and orientation of the reference's layer. ``product``: they are up @ down."""
    component, found = recording.facts["lora"]["component"], {}
    for layer in recording.facts["lora"]["layers"]:
        places = layers.places.get(f"{component}.{layer}", [])
        if product and len(places) == 1 and places[0][0] in arrays:
            path, own_rows, their_rows = places[0]
            found[layer, product] = arrays[path][own_rows[np.argsort(their_rows)]]
        elif not product and places and all(f"{path}.lora_A" in arrays for path, *_ in places):
            found[layer, 0] = sum(to_numpy(arrays[f"{path}.lora_A"]).T for path, *_ in places)
            rows = np.concatenate([to_numpy(arrays[f"{path}.lora_B"]).T[own] for path, own, _ in places])
            found[layer, 1] = rows[np.argsort(np.concatenate([theirs for *_, theirs in places]))]
    return found
