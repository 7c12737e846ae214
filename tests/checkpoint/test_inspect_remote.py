"""A repo id: the same facts as from the folder, with only the headers of the weights sent."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.checkpoint.files import write_raw
from tests.checkpoint.hub import REVISION, hub


@pytest.fixture
def environment_of(tmp_path):
    def make(server) -> dict[str, str]:
        proxies = dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), ""
        )
        return {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", **proxies}  # fmt: skip

    return make


def test_a_repo_gives_what_its_folder_gives(mflux_port, references, environment_of, tmp_path):
    folder = references / "flux2_klein-full"
    with hub(folder) as server:
        done = mflux_port("inspect", "--json", "acme/Nova", cwd=tmp_path, env=environment_of(server))
        sent = dict(server.sent)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    here = json.loads(mflux_port("inspect", "--json", folder, "--repo", "acme/Nova", cwd=tmp_path).stdout)
    assert there["components"] == here["components"] and there["tokenizers"] == here["tokenizers"]
    assert there["revision"] == REVISION and there["answers"]["checkpoints"]["value"][0]["revision"] == REVISION
    weights = {name: size for name, size in sent.items() if name.endswith(".safetensors")}
    assert len(weights) == 7 and max(weights.values()) < 250_000, "16 GB of weights must not be sent"


def test_a_repo_that_is_not_there(mflux_port, references, environment_of, tmp_path):
    with hub(references / "z_image-tiny") as server:
        done = mflux_port("inspect", "acme/Other", cwd=tmp_path, env=environment_of(server))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "acme/Other is not on the Hugging Face Hub" in done.stderr


def test_unsound_weights_of_a_repo(mflux_port, references, environment_of, tmp_path):
    folder = shutil.copytree(references / "z_image-tiny", tmp_path / "repo")
    write_raw(folder / "transformer/diffusion_pytorch_model.safetensors", b"{}", claim=2 * 2**30)
    with hub(folder) as server:
        done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=environment_of(server))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "damaged safetensors file" in done.stderr


def test_no_network_is_one_line(mflux_port, references, environment_of, tmp_path):
    with hub(references / "z_image-tiny") as server:
        environment = environment_of(server)
    done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env={**environment, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
