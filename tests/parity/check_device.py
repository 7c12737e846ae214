"""Operations that a device lacks, raised as PyTorch and MLX raise them: ``check_device.py SCRIPT [ARGUMENT…]``.

The script runs in the current folder, and one operation of its library raises.
"""

from __future__ import annotations

import runpy
import sys

sys.path[0] = "."
sys.argv = sys.argv[1:]
if sys.argv[0] == "run_reference.py":
    import torch

    def lacking(*args, **kwargs):
        name = "The operator 'aten::silu.out' is not currently implemented for the MPS device"
        raise NotImplementedError(f"{name}. If you want this op to be considered for addition please comment on …")

    torch.nn.functional.silu = torch.nn.SiLU.forward = lacking
else:
    from mlx import nn
    from parity.devices import DeviceError
    from parity.run.mlx_taps import TapError, _own_errors

    def computed(message: str) -> type:
        # MLX computes lazily: an operation's error may be raised only where the comparison reads its result.
        try:
            with _own_errors():
                raise RuntimeError(message)
        except (DeviceError, TapError) as error:
            return type(error)

    assert computed("[Eigh::eval_gpu] has no GPU implementation.") is DeviceError
    assert computed("[reshape] Cannot reshape array of size 6 into shape (4).") is TapError

    def lacking(*args, **kwargs):
        raise RuntimeError("[Eigh::eval_gpu] has no GPU implementation.")

    nn.Linear.__call__ = lacking
runpy.run_path(sys.argv[0], run_name="__main__")
