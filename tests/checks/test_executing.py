"""``check --run`` in an environment that runs mflux: passes on a sound port, fails on a broken one."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.checks import complete_port

SIZES = {"hidden_size": 128, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "context_dim": 128}
ANSWERS = {
    "model": "nova",
    "hf_repo": "acme/Nova",
    "vae": "own",
    "text_encoder": "own",
    "lora": False,
    "img2img": False,
    "negative_prompt": False,
    "checkpoints": [
        {
            "key": "nova",
            "hf_repo": "acme/Nova",
            "steps": 4,
            "guidance": 1.0,
            "supports_guidance": False,
            "transformer_overrides": SIZES,
        }
    ],
}


@pytest.mark.full
def test_rows_that_execute(mflux_port, pristine, environment, tmp_path):
    root = complete_port.render(shutil.copytree(pristine(), tmp_path / "mflux"), ANSWERS)

    def run() -> dict[str, str]:
        done = mflux_port("check", "nova", "--run", "--json", cwd=root, python=environment("0.24.0"))
        return {row["rule"]: row["state"] for row in json.loads(done.stdout)["rows"] if row["rule"].startswith("RUN")}

    assert run() == {"RUN01": "pass", "RUN02": "pass", "RUN03": "pass", "RUN04": "not applicable"}
    variant = root / "src/mflux/models/nova/variants/txt2img/nova.py"
    broken = variant.read_text().replace("weight_definition=NovaWeightDefinition,", "weight_definition=None,")
    variant.write_text(broken + "import os\n")
    assert run() == {"RUN01": "fail", "RUN02": "fail", "RUN03": "fail", "RUN04": "not applicable"}
