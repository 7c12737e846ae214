"""``mflux-port inspect --sizes``: figures of the README, measured on the files on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mflux_port.checkpoint.disk_sizes import fill_sizes, measured
from mflux_port.errors import PortError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ANSWERS = {
    "model": "nova",
    "hf_repo": "acme/Nova",
    "checkpoints": [{"key": "nova-turbo", "hf_repo": "acme/Nova"}, {"key": "nova-base", "hf_repo": "acme/Nova-Base"}],
}


@pytest.fixture(scope="module")
def wired(tmp_path_factory, pristine, copy_port) -> Path:
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("sizes") / "mflux")
    assert copy_port(root, **ANSWERS).returncode == 0
    return root


@pytest.fixture
def root(wired, tmp_path) -> Path:
    for name in ("porting/nova/answers.yml", "src/mflux/models/nova/README.md"):
        (tmp_path / "mflux" / name).parent.mkdir(parents=True)
        shutil.copy(wired / name, tmp_path / "mflux" / name)
    return tmp_path / "mflux"


def _cache(home: Path, repo: str, size: int) -> Path:
    # The way huggingface_hub stores a repo: blobs, and snapshots of links to them.
    folder = home / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT / "vae"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs/weights").write_bytes(bytes(size))
    (snapshot / "model.safetensors").symlink_to(folder / "blobs/weights")
    (snapshot / "again.safetensors").symlink_to(folder / "blobs/weights")
    return folder


def _saved(folder: Path, bits: int | None, size: int) -> Path:
    (folder / "vae").mkdir(parents=True)
    index = json.dumps({"metadata": {"quantization_level": str(bits)}, "weight_map": {}})
    (folder / "vae/model.safetensors.index.json").write_text(index)
    (folder / "vae/0.safetensors").write_bytes(bytes(size - len(index)))
    return folder


def _readme(root: Path) -> str:
    return (root / "src/mflux/models/nova/README.md").read_text()


def test_download_and_quantized_copy(mflux_port, root, tmp_path):
    _cache(tmp_path / "hub", "acme/Nova-Base", 3_000_000)
    saved = _saved(tmp_path / "saved", 8, 1_600_000)
    cache = {"HF_HUB_CACHE": str(tmp_path / "hub")}

    done = mflux_port("inspect", "acme/Nova-Base", "--sizes", "nova", "--saved", saved, cwd=root, env=cache)

    assert done.returncode == 0, done.stderr
    sentence = "`acme/Nova-Base` (nova-base): the download takes 3.0 MB, a copy quantized to 8 bits takes 1.6 MB."
    assert sentence in _readme(root)
    assert "`acme/Nova` (nova-turbo): the download takes (not measured yet)" in _readme(root)


def test_measured_again_after_a_change(mflux_port, root, tmp_path):
    folder = tmp_path / "nova"
    folder.mkdir()
    for size, said in ((2_000, "2.0 kB"), (5_300_000, "5.3 MB")):
        (folder / "model.safetensors").write_bytes(bytes(size))

        done = mflux_port("inspect", folder, "--sizes", "nova", "--json", cwd=root)

        assert json.loads(done.stdout)["bytes"] == {"download": size}
        assert f"`acme/Nova` (nova-turbo): the download takes {said}, a copy" in _readme(root)


def test_links_count_once(tmp_path):
    assert measured(_cache(tmp_path, "acme/Nova", 1_000) / "snapshots") == 1_000


WRONG = {
    "not on this disk": (["acme/Other", "--sizes", "nova"], "is not on this disk"),
    "no port": (["folder", "--sizes", "supernova"], "porting/supernova/answers.yml is missing"),
    "empty folder": (["empty", "--sizes", "nova"], "holds no files"),
    "other repo": (["folder", "--sizes", "nova", "--repo", "acme/Other"], "has no `acme/Other` followed by"),
    "no quantized copy": (
        ["folder", "--sizes", "nova", "--saved", "folder"],
        "not a quantized copy made by mflux-save",
    ),
    "full copy": (["folder", "--sizes", "nova", "--saved", "full"], "not a quantized copy made by mflux-save"),
    "bits that the README lacks": (["folder", "--sizes", "nova", "--saved", "four"], "quantized to 4 bits takes"),
    "copy alone": (["folder", "--saved", "four"], "--saved needs --sizes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(case, mflux_port, root):
    arguments, said = WRONG[case]
    (root / "folder").mkdir()
    (root / "folder/model.safetensors").write_bytes(b"weights")
    (root / "empty").mkdir()
    _saved(root / "full", None, 1_000)
    _saved(root / "four", 4, 1_000)
    before = _readme(root)

    done = mflux_port("inspect", *arguments, cwd=root)

    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1 and said in done.stderr
    assert _readme(root) == before


def test_figure_of_another_repo_is_not_replaced():
    text = "`a/b` (b): soon. `a/c` (c): the download takes (not measured yet)."

    with pytest.raises(PortError, match="has no `a/b` followed by"):
        fill_sizes(text, "README.md", "a/b", 5, {})
