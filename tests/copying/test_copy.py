"""``copier copy`` into a real mflux checkout: what it writes and what it leaves alone."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.copying.ports import FULL, PLAIN


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def _files(root: Path) -> dict[Path, tuple[bytes, int]]:
    paths = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts]
    return {path.relative_to(root): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_two_answers_are_enough(checkout, copy_port):
    root = checkout()

    done = copy_port(root, model="foo", hf_repo="org/Foo")

    assert done.returncode == 0, done.stderr
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["mflux-generate-foo"] == "mflux.models.foo.cli.foo_generate:main"
    assert (root / "src/mflux/models/foo/variants/txt2img/foo.py").is_file()
    assert (root / "porting/foo/answers.yml").is_file()
    said = done.stdout + done.stderr
    assert re.search(r"^check: \d+ pass", said, re.MULTILINE) and "next: porting/foo/PORTING.md" in said


def test_shared_files_only_get_insertions(checkout, copy_port):
    root = checkout()

    done = copy_port(root, **FULL)

    assert done.returncode == 0, done.stderr
    changed = [line.split("\t") for line in _git(root, "diff", "--numstat").splitlines()]
    assert {name for _, _, name in changed} >= {
        "README.md",
        "pyproject.toml",
        "src/mflux/cli/defaults/defaults.py",
        "src/mflux/models/common/checking/model_checker.py",
        "src/mflux/models/common/cli/save.py",
        "src/mflux/models/common/config/model_config.py",
        "src/mflux/models/common/training/runner.py",
    }
    assert [(name, removed) for _, removed, name in changed if removed != "0"] == []


def test_git_keeps_every_file_of_the_port(checkout, copy_port):
    root = checkout()
    copy_port(root, **FULL)

    hidden = [line[3:] for line in _git(root, "status", "--short", "--ignored").splitlines() if line.startswith("!!")]

    assert [name for name in hidden if "nova_image" in name or "porting" in name] == []


def test_copying_again_changes_nothing(checkout, copy_port):
    root = checkout()
    copy_port(root, **FULL)
    first = _files(root)

    done = copy_port(root, **FULL)

    assert done.returncode == 0, done.stderr
    second = _files(root)
    assert {path: data for path, (data, _) in first.items()} == {path: data for path, (data, _) in second.items()}
    shared = [Path(line) for line in _git(root, "diff", "--name-only").splitlines()]
    assert [path for path in shared if first[path] != second[path]] == []


@pytest.mark.full
def test_copying_again_keeps_what_the_porter_wrote(checkout, copy_port):
    root = checkout()
    copy_port(root, **FULL)
    mine = root / "src/mflux/models/nova_image/weights/nova_image_weight_mapping.py"
    mine.write_text("# mine\n")

    copy_port(root, **FULL)

    assert mine.read_text() == "# mine\n"


def test_disabled_features_leave_no_trace(checkout, copy_port):
    root = checkout()

    done = copy_port(root, **PLAIN)

    assert done.returncode == 0, done.stderr
    words = re.compile(r"lora|training|img2img|image_strength|image_path|negative|guidance_scale", re.IGNORECASE)
    texts = {path.relative_to(root): path.read_text() for path in (root / "src/mflux/models/quiet").rglob("*.*")}
    texts |= {path.relative_to(root): path.read_text() for path in (root / "tests").rglob("*quiet*.py")}
    # The shared parser still has the option, and the command says that it does nothing.
    texts = {path: text.replace("--negative-prompt", "") for path, text in texts.items()}
    assert {str(path): words.findall(text) for path, text in texts.items() if words.search(text)} == {}
    assert not list(root.rglob("*quiet*lora*")) + list(root.rglob("*quiet*training*"))


def test_steps_come_from_one_place(checkout, copy_port):
    root = checkout()
    copy_port(root, **FULL)

    defaults = (root / "src/mflux/cli/defaults/defaults.py").read_text()
    found = dict(re.findall(r'"(nova-image-\w+)": (\d+)', defaults))
    assert found == {"nova-image-turbo": "8", "nova-image-base": "40"}
    readme = (root / "src/mflux/models/nova_image/README.md").read_text()
    assert "--steps 8" in readme and "--steps 40" in readme


def test_two_ports_in_one_checkout(checkout, copy_port):
    root = checkout()
    copy_port(root, **FULL)
    before = {path: data for path, (data, _) in _files(root).items() if "nova_image" in str(path)}

    done = copy_port(root, **PLAIN)

    assert done.returncode == 0, done.stderr
    assert {path: data for path, (data, _) in _files(root).items() if "nova_image" in str(path)} == before
    assert len(_git(root, "diff", "pyproject.toml").split("\n+mflux-generate")) == 3
