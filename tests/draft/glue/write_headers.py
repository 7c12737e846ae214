"""Write weight files with true headers and no data next to a reference's configs: ``write_headers.py FOLDER SCRIPTS``.

The files are sparse, so that a real model's take no space. Run in an environment with torch and the reference's
libraries.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path


def main() -> None:
    folder, scripts = map(Path, sys.argv[1:])
    sys.path.insert(0, str(scripts))
    import torch
    from parity.record import components

    _, parts = components.read_index(folder)
    for name, (library, kind) in parts.items():
        if components.is_network(folder, name):
            cls = components.component_class(library, kind, folder / name)
            with torch.device("meta"):
                network = components.build(library, cls, components.read_json(folder / name / "config.json"))
            stem = "model" if library == "transformers" else "diffusion_pytorch_model"
            _write(folder / name / f"{stem}.safetensors", network)


def _write(path: Path, network) -> None:
    tied = getattr(network.config, "tie_word_embeddings", False) if hasattr(network, "config") else False
    left_out = set(getattr(network, "_tied_weights_keys", None) or ()) if tied else set()
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for key, tensor in network.state_dict().items():
        if key not in left_out:
            size = 2 * tensor.numel()
            header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


if __name__ == "__main__":
    main()
