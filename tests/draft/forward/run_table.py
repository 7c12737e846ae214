"""Prints the result of every case of the table as JSON. Run where torch and MLX are installed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from mflux_port.draft.forward.draft import drafted

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import table_cases  # noqa: E402


def main(folder: Path) -> None:
    import torch

    (folder / "cases_of_the_table.py").write_text(table_cases.module_source())
    sys.path.insert(0, str(folder))
    model = importlib.import_module("cases_of_the_table").Model().eval()
    runs = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        randn = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731,B023
        inputs = {"x": randn(2, 3, 4), "y": randn(2, 3, 4), "w": randn(4, 4)}
        inputs["i"] = torch.randint(0, 3, (2, 3, 4), generator=generator)
        inputs["i"][0, 0, :2] = torch.tensor([2, 0])
        inputs |= {
            "m": randn(2, 3, 4) > 0,
            "image": randn(2, 4, 6, 6),
            "z": torch.complex(randn(2, 3, 4), randn(2, 3, 4)),
        }
        inputs["row"] = torch.tensor([1, 2, 1]) if seed == 0 else torch.tensor([2, 1, 2])
        inputs["kernel"] = randn(4, 4, 3, 3)
        runs.append(("forward", inputs))
    forwards = drafted(model, runs)
    found = {}
    for group, forward in forwards.items():
        name = group.split("(")[0].rsplit(".", 1)[-1]
        if name.startswith("Case"):
            reasons = [f"{reason}" for _, _, reason in forward.problems]
            found[table_cases.names()[int(name[4:])]] = {
                "state": forward.state.kind, "line": forward.state.line, "reasons": reasons,
                "text": "\n".join(method.text for method in forward.methods),
            }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
