"""How the reference's networks are read (needs torch): ``check_reading.py HOME`` with a twin in HOME/artifacts/tiny."""

from __future__ import annotations

import sys
from pathlib import Path

home = Path(sys.argv[1])
sys.path.insert(0, str(home))

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from parity.record import reading  # noqa: E402
from parity.record.resident_networks import Parts, network_classes  # noqa: E402

folder, opened = home / "artifacts/tiny", []
original = reading.safe_open
reading.safe_open = lambda file, **more: (
    opened.append((Path(file).parent.name, more["backend"])) or original(file, **more)
)
whole = safetensors.torch.load_file
parts = Parts(folder, torch.float32, "cpu", keep=True)
assert safetensors.torch.load_file is whole, "it stays replaced"
assert set(opened) == {(name, "pread") for name in network_classes(folder)}, opened
for name, network in parts.networks.items():
    known = {}
    for file in (folder / name).glob("*.safetensors"):
        known |= whole(file)
    assert known and all(tensor.dtype == torch.float32 for tensor in network.parameters())
    for path, tensor in network.state_dict().items():
        stored = known.get(path)
        assert stored is None or torch.equal(tensor, stored.float()), path

opened.clear()  # in the files' own dtype, the mapped file is the network
Parts(folder, torch.bfloat16, "cpu", keep=True)
assert not opened, opened
print("right")
