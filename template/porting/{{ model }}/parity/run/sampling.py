"""Watch mflux's trainer draw timesteps and weight losses with the port's adapter; the transformer is left out."""

from __future__ import annotations

import random
from types import SimpleNamespace

import mlx.core as mx
import numpy as np

from parity.compare import sampling as compare
from parity.compare.claim_row import Row
from parity.run.patches import Patches
from parity.waivers import Waivers

DRAWS = 1000


def rows(adapter, spec: SimpleNamespace, item, schemes: dict, waivers: Waivers) -> list[Row]:
    """A row for the timesteps and one for the weights.

    ``item``: a data item of the trainer; ``spec``: the training file.

    ``schemes``: what the recording has of the reference's; ``waivers`` names those that the model was trained with.
    """
    shares = len(next(iter(schemes["timesteps"].values())))
    drawn = SimpleNamespace(**vars(spec) | {"steps": shares})
    drawn.training_loop = SimpleNamespace(timestep_low=0, timestep_high=None, timestep_type=None)
    seen = _Watched(adapter, drawn, item)
    weights = compare.weighting(seen.sigmas, seen.weights, schemes["sigmas"], schemes["weightings"], waivers)
    return [compare.timesteps(seen.steps, seen.count, schemes["timesteps"], waivers), weights]


class _Watched:
    """What the trainer asks the adapter for: ``steps``, their ``sigmas``, and the loss of each over its plain square."""

    def __init__(self, adapter, spec: SimpleNamespace, item):
        from mflux.models.common.training.dataset.batch import Batch
        from mflux.models.common.training.trainer import TrainingTrainer

        self.steps: list[int] = []
        config = adapter.create_config(spec, width=item.width, height=item.height)
        self.count = config.num_inference_steps  # an adapter may have its own number
        zeros, noise = mx.zeros_like(item.clean_latents), mx.ones_like(item.clean_latents)
        patches = Patches()

        def predict_noise(*, t, **rest):
            self.steps.append(int(t))
            return zeros

        patches.set(adapter, "predict_noise", predict_noise)
        patches.set(adapter, "create_config", lambda *args, **kwargs: config)
        patches.set(mx.random, "normal", lambda shape=(), dtype=mx.float32, **rest: noise.astype(dtype))
        try:
            batch = Batch([item], random.Random(0))
            losses = [TrainingTrainer.compute_loss(adapter, spec, config, batch) for _ in range(DRAWS)]
            mx.eval(losses)
        finally:
            patches.undo()
        plain = float((item.clean_latents - noise).square().mean())
        sigmas = np.array(config.scheduler.sigmas).reshape(-1)
        self.sigmas = sigmas[self.steps]
        self.weights = np.array([float(loss) for loss in losses]) / plain
