"""A repo id gives the same facts as a folder, and only the headers of the weights are downloaded."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from mflux_port.checkpoint import sources

from tests.checkpoint.files import write_raw
from tests.checkpoint.hub import REVISION, Hub, _Handler, hub


@pytest.fixture
def environment_of(tmp_path):
    def make(server) -> dict[str, str]:
        proxies = dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), ""
        )
        return {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", **proxies}  # fmt: skip

    return make


def test_repo_gives_the_same_facts_as_its_folder(mflux_port, references, environment_of, tmp_path):
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


def test_repo_that_does_not_exist(mflux_port, references, environment_of, tmp_path):
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


def test_without_network_the_error_is_one_line(mflux_port, references, environment_of, tmp_path):
    with hub(references / "z_image-tiny") as server:
        environment = environment_of(server)
    done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env={**environment, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


class GatedHub(Hub):
    """Lists the repo's files, but serves none of them."""

    def __init__(self, folder):
        super().__init__(folder)
        self.RequestHandlerClass = _GatedHandler


class _GatedHandler(_Handler):
    def do_GET(self):
        if "/resolve/" not in self.path:
            return super().do_GET()
        self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})


@pytest.mark.parametrize("family", ["z_image-tiny", "flux2_klein-tiny", "qwen_image-tiny"])
def test_gated_repo_is_refused_in_one_line(mflux_port, references, environment_of, tmp_path, family):
    with hub(references / family, GatedHub) as server:
        done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=environment_of(server))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "acme/Nova is gated; accept its terms on its page and run `hf auth login`" in done.stderr


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "GatedRepo", "acme/Nova is gated; accept its terms on its page and run `hf auth login`"),
        (403, "GatedRepo", "acme/Nova is gated"),
        (401, "RepoNotFound", "acme/Nova is not on the Hugging Face Hub"),
    ],
)
def test_private_repo_is_refused_in_one_line(mflux_port, references, environment_of, tmp_path, status, code, words):
    class Closed(_Handler):
        def do_GET(self):
            self._answer(status, b"{}", {"X-Error-Code": code})

    class ClosedHub(Hub):
        def __init__(self, folder):
            super().__init__(folder)
            self.RequestHandlerClass = Closed

    with hub(references / "z_image-tiny", ClosedHub) as server:
        done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=environment_of(server))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and words in done.stderr


@pytest.mark.parametrize("number", [1, 2, 3])
def test_offline_with_a_shard_that_was_not_downloaded(mflux_port, references, tmp_path, number):
    put_into_cache(
        references / "flux2_klein-full", tmp_path / "home", ["transformer", "vae", "text_encoder", "scheduler"]
    )
    snapshot = tmp_path / "home/hub/models--acme--Nova/snapshots" / REVISION
    shard = f"diffusion_pytorch_model-0000{number}-of-00003.safetensors"
    (snapshot / "transformer" / shard).unlink()
    offline = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=offline)
    assert done.returncode == 2 and f"names {shard}, which is missing; download the rest" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def put_into_cache(folder, home, parts: list[str]):
    """The content of the cache after ``parts`` of a repo were downloaded."""
    snapshot = home / "hub/models--acme--Nova/snapshots" / REVISION
    for name in ("model_index.json", *parts):
        path = folder / name
        if path.is_dir():
            shutil.copytree(path, snapshot / name, copy_function=os.symlink)  # links, as in the cache
        else:
            snapshot.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, snapshot / name)
    (home / "hub/models--acme--Nova/refs").mkdir()
    (home / "hub/models--acme--Nova/refs/main").write_text(REVISION)


@pytest.mark.parametrize(
    "parts", [["transformer"], ["vae", "tokenizer", "scheduler"], ["text_encoder", "vae", "scheduler"]]
)
def test_offline_with_a_partial_cache(mflux_port, references, tmp_path, parts):
    put_into_cache(references / "z_image-tiny", tmp_path / "home", parts)
    offline = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=offline)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    index = json.loads((references / "z_image-tiny/model_index.json").read_text())
    missing = {name for name, entry in index.items() if isinstance(entry, list)} - set(parts)
    said = done.stderr.partition(" lacks ")[2].partition(", which model_index.json lists")[0]
    assert set(said.split(", ")) == missing


def test_without_network_the_error_suggests_the_cache(mflux_port, references, tmp_path, environment_of):
    put_into_cache(references / "z_image-tiny", tmp_path / "home", ["transformer"])
    with hub(references / "z_image-tiny") as server:
        environment = environment_of(server) | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = mflux_port("inspect", "acme/Nova", cwd=tmp_path, env=environment)
    assert done.returncode == 2 and "set HF_HUB_OFFLINE=1 to read what is in the cache" in done.stderr


@pytest.mark.parametrize(("terminal", "slow"), [(True, True), (True, False), (False, True)])
def test_slow_connection_shows_its_progress(monkeypatch, capsys, terminal, slow):
    monkeypatch.setattr(sources.sys.stderr, "isatty", lambda: terminal, raising=False)
    source = object.__new__(sources.RemoteSource)
    source.repo, source.files = "acme/Nova", {"a/1.safetensors": 9, "a/2.safetensors": 9, "README.md": 3}
    source._started, source._read = time.monotonic() - (10 if slow else 0), 0
    for name in ("a/1.safetensors", "a/2.safetensors"):
        source._tell(name)
    lines = capsys.readouterr().err.splitlines()
    assert lines == (
        [f"reading header {n} of up to 2: acme/Nova/a/{n}.safetensors" for n in (1, 2)] if terminal and slow else []
    )
