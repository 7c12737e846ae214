"""Answers that were read before come back without PyYAML; all else is read anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from mflux_port.errors import PortError
from mflux_port.port import answers, kept_answers
from mflux_port.port.answers import ANSWERS, read_answers

from tests.properties.answers import plain, values

TEXT = "# Nova's\nmodel: nova\nsteps: 8\n"
HOOKS = Path(answers.__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".git/mflux-port").mkdir(parents=True)
    write(tmp_path, TEXT)
    return tmp_path


def write(root: Path, text: str) -> None:
    path = root / ANSWERS.format(model="nova")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def kept(root: Path) -> Path:
    return root / ".git/mflux-port/answers-nova.json"


def test_the_second_reading_needs_no_yaml(root: Path):
    script = "import sys; from mflux_port.port.answers import read_answers; print(read_answers(sys.argv[1], 'nova', keeping=True))\n"
    script += "print('yaml' in sys.modules)"
    command = [sys.executable, "-c", script, root]
    env = {**os.environ, "PYTHONPATH": str(HOOKS)}
    said = [subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    wanted = "{'model': 'nova', 'steps': 8}\n"
    assert said == [f"{wanted}True\n", f"{wanted}False\n"]


def test_another_text_is_read_anew(root: Path):
    read_answers(root, "nova", keeping=True)
    write(root, TEXT.replace("8", "9"))
    assert read_answers(root, "nova")["steps"] == 9
    write(root, "- nova\n")
    with pytest.raises(PortError, match="is no mapping of answers"):
        read_answers(root, "nova")


@pytest.mark.parametrize(
    "damage", [b"", b"[", b"\xff", b"[]", b'["%s"]' % TEXT.encode(), b'{"steps": 1}', b"[" * 10_000]
)
def test_what_is_kept_may_be_damaged(root: Path, damage: bytes):
    kept(root).write_bytes(damage)
    assert read_answers(root, "nova", keeping=True) == {"model": "nova", "steps": 8}
    assert kept(root).read_bytes() != damage


@pytest.mark.parametrize(
    "text",
    [
        "day: 2026-01-01\n",
        "1: one\n",
        "table: {true: x}\n",
        "steps: .nan\n",
        "steps: .inf\n",
        "names: !!set {a, b}\n",
        "pairs: !!omap [a: 1]\n",
        "data: !!binary aGVsbG8=\n",
        "a: &x [1]\nb: *x\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    ],
)
def test_what_json_cannot_hold_is_not_kept(root: Path, text: str):
    write(root, text)
    first, second = (read_answers(root, "nova", keeping=True) for _ in range(2))
    assert repr(first) == repr(second) == repr(yaml.safe_load(text))
    assert not kept(root).exists()


def test_a_reader_keeps_nothing(root: Path):
    read_answers(root, "nova")
    assert not kept(root).exists()


def test_no_folder_is_made(root: Path):
    (root / ".git/mflux-port").rmdir()
    read_answers(root, "nova", keeping=True)
    assert not any((root / ".git").iterdir())


def test_a_place_that_cannot_be_written_or_read_harms_nobody(root: Path):
    kept(root).mkdir()
    for _ in range(2):
        assert read_answers(root, "nova", keeping=True) == {"model": "nova", "steps": 8}


@given(plain | values)
def test_what_comes_back_is_what_yaml_says(tmp_path_factory, value):
    root = tmp_path_factory.getbasetemp() / "kept"
    (root / ".git/mflux-port").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"value": value}, allow_unicode=True)
    said = yaml.safe_load(text)
    kept_answers.keep(root, "nova", text, said)
    assert repr(kept_answers.recalled(root, "nova", text)) == repr(None if "&" in text else said)
    assert kept_answers.recalled(root, "nova", text + " ") is None
