"""Run inside mflux's environment: the public names that every MLX module has."""

import json

from mlx import nn

print(json.dumps([name for name in dir(nn.Module) if not name.startswith("_")]))
