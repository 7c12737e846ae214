"""The network breaks while ``inspect`` reads a remote repo: it prints one line, exits with 2 and writes no answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoint.files import TRANSFORMER, write_sharded
from tests.checkpoint.hub import hub
from tests.faults.broken_hub import BrokenHub

_REQUESTS = 7  # requests in a whole inspect of ``repo``; the first test checks this
_QUICK = {("reset", 4), ("short", 2)}
_BREAKS = [(how, at) for how in ("reset", "short", "silent", 500) for at in (0, 2, 4, 6)]
_BREAKS += [("cut", 2), ("cut", 6), ("stalls", 1), ("stalls", 5), (503, 3), (429, 6), (404, 5), (200, 0), (200, 2)]


@pytest.fixture
def repo(tmp_path) -> Path:
    root = tmp_path / "repo"
    index = {"_class_name": "NovaPipeline", "transformer": ["diffusers", "NovaTransformer2DModel"]}
    config = {"_class_name": "NovaTransformer2DModel", "num_layers": 4, "hidden_size": 64}
    write_sharded(root / "transformer", TRANSFORMER, 2, "diffusion_pytorch_model")
    (root / "model_index.json").write_text(json.dumps(index))
    (root / "transformer/config.json").write_text(json.dumps(config))
    return root


@pytest.fixture
def inspect(mflux_port, tmp_path, repo):
    """``inspect(how, at)``: returns the command's run, its answers file, and the number of its requests."""

    def run(how: str | int, at: int, **options):
        with hub(repo, BrokenHub, how=how, at=at, **options) as server:
            proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), "")
            environment = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
            environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1", "NO_PROXY": "127.0.0.1"}
            (tmp_path / "work").mkdir()
            options = {"cwd": tmp_path / "work", "env": environment | proxies, "timeout": 120}
            done = mflux_port("inspect", "acme/Nova", "-o", "answers.yml", **options)
            return done, server.requests

    return run


def test_unbroken_connection(inspect, tmp_path):
    done, requests = inspect("reset", 1000)
    assert done.returncode == 0, done.stderr
    assert "acme/Nova" in (tmp_path / "work/answers.yml").read_text() and requests == _REQUESTS


@pytest.mark.parametrize(
    ("how", "at"), [pytest.param(*case, marks=() if case in _QUICK else pytest.mark.full) for case in _BREAKS]
)
def test_broken_connection(how, at, inspect, tmp_path):
    done, requests = inspect(how, at)
    assert requests > at
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("mflux-port: acme/Nova") and "Traceback" not in done.stderr
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("how", "at"),
    [
        ("reset", 2),
        (503, 0),
        *(pytest.param(*case, marks=pytest.mark.full) for case in ((429, 4), ("short", 5), ("silent", 3))),
    ],
)
def test_temporary_failure_is_retried(how, at, inspect, tmp_path):
    done, requests = inspect(how, at, lasting=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "acme/Nova" in (tmp_path / "work/answers.yml").read_text() and requests >= _REQUESTS
