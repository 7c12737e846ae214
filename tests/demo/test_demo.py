"""``mflux-port demo`` from an empty folder, as a newcomer types it."""

from __future__ import annotations

import json
import venv

import pytest
from PIL import Image


@pytest.mark.full
def test_from_an_empty_folder_to_a_picture(mflux_port, tmp_path):
    done = mflux_port("demo", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    image = tmp_path / "mflux-port-demo/nova-demo.png"
    assert done.stdout.splitlines()[-1] == f"the image: {image}"
    with Image.open(image) as picture:
        assert picture.size == (128, 128)
        assert len(set(picture.convert("RGB").tobytes())) > 100
    assert " passed" in done.stdout and "failed" not in done.stdout

    again = mflux_port("demo", "--json", cwd=tmp_path)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["image"] == str(image)
    assert "using the existing port" in again.stderr


def test_folder_with_other_files_is_left_alone(mflux_port, tmp_path):
    held = tmp_path / "work/mflux-0.24.0"
    held.mkdir(parents=True)
    (held / "mine.txt").write_text("mine")

    done = mflux_port("demo", "--into", tmp_path / "work", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "name another folder with --into" in done.stderr
    assert [path.name for path in held.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("latest", "is not an mflux release"),
        ("0.17.5", "supports mflux 0.18.0"),
        ("../0.24.0", "is not an mflux release"),
    ],
)
def test_version_is_one_that_the_template_supports(mflux_port, tmp_path, version, said):
    done = mflux_port("demo", "--mflux", version, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_error_about_a_missing_tool_is_one_line(mflux_port, tmp_path):
    # Run an interpreter without uv next to it, and with an empty search path.
    venv.create(tmp_path / "bare")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"PATH": str(empty), "MFLUX_PORT_CACHE": str(tmp_path / "cache")}

    done = mflux_port("demo", cwd=tmp_path, python=tmp_path / "bare/bin/python", env=environment)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "uv is not installed; install it" in done.stderr


def test_error_without_network_is_one_line(mflux_port, tmp_path):
    nowhere = "http://127.0.0.1:9/simple"
    environment = {
        "MFLUX_PORT_CACHE": str(tmp_path / "cache"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_INDEX_URL": nowhere,
        "UV_DEFAULT_INDEX": nowhere,
        "PIP_INDEX_URL": nowhere,
        "UV_HTTP_RETRIES": "0",
    }

    done = mflux_port("demo", cwd=tmp_path, env=environment)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "check the network" in done.stderr
    assert not (tmp_path / "cache/sources").exists() or list((tmp_path / "cache/sources").iterdir()) == []
