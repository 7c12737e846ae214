"""How diffusers draws timesteps for training and weights their losses: its schemes, as numbers to compare a port with.

The scheme that a model was trained with is in its own training script, which no package contains.
"""

from __future__ import annotations

import torch

BINS, DRAWS = 20, 100_000
LOWEST, POINTS = 0.05, 191
TIMESTEPS = ("none", "logit_normal", "mode")
WEIGHTINGS = ("none", "sigma_sqrt", "cosmap")
# The defaults of these options in diffusers' scripts.
_OPTIONS = {"logit_mean": 0.0, "logit_std": 1.0, "mode_scale": 1.29}


def schemes() -> dict:
    """For each scheme, the share of timesteps in each of ``BINS`` parts of the schedule, and the weights of ``sigmas``.

    The first part is the noisiest.
    """
    from diffusers import training_utils

    draws = {name: training_utils.compute_density_for_timestep_sampling(
        name, DRAWS, **_OPTIONS, generator=torch.Generator().manual_seed(0)) for name in TIMESTEPS}  # fmt: skip
    shares = {name: (torch.histc(one, BINS, 0, 1) / DRAWS).tolist() for name, one in draws.items()}
    sigmas = torch.linspace(LOWEST, 1.0, POINTS)
    weights = {name: training_utils.compute_loss_weighting_for_sd3(name, sigmas).tolist() for name in WEIGHTINGS}
    return {"timesteps": shares, "sigmas": sigmas.tolist(), "weightings": weights}
