"""Make PyTorch compute in true float32: turn TF32 off, and check the device's results."""

from __future__ import annotations

import torch

from parity import float32_floor


def use_float32() -> None:
    """Turn TF32 and reduced-precision sums off. Call this before a network runs."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@torch.no_grad()
def warning(device: str) -> str:
    """One line when float32 on ``device`` is not exact."""

    def on(function):
        def run(*arrays):
            return function(*(torch.from_numpy(array).to(device) for array in arrays)).cpu().numpy()

        return run

    functional = torch.nn.functional
    floors = float32_floor.measure(on(torch.matmul), on(functional.conv2d), on(functional.scaled_dot_product_attention))
    return float32_floor.sentence(f"PyTorch on {device}", floors, "run it with --device cpu")
