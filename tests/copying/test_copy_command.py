"""``mflux-port copy``: it refuses before anything is rendered, and writes the same files as ``copier copy``."""

from __future__ import annotations

from pathlib import Path

import copier
import pytest
from mflux_port.cli import main

from tests.json_forms import facts_of
from tests.template import rendering

NOVA = ("model=nova", "hf_repo=acme/Nova")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    home = rendering.template_copy(tmp_path_factory.mktemp("copy") / "template")
    (home / "hooks").symlink_to(rendering.PROJECT / "hooks")
    return home


@pytest.fixture
def start(plain, monkeypatch):
    """``start(root, …)``: run the command; returns its exit code and how often Copier was told to write."""
    written = []
    run_copy = copier.run_copy

    def counted(*arguments, **options):
        written.append(not options.get("pretend"))
        return run_copy(*arguments, **options)

    monkeypatch.setattr(copier, "run_copy", counted)

    def run(root: Path, *data: str, source: Path = plain, options: tuple[str, ...] = ("--defaults",)):
        words = ["copy", str(source), "--checkout", str(root), *options]
        return main([*words, *(word for answer in data for word in ("-d", answer))]), sum(written)

    return run


def files(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


REFUSED = [
    (
        ("model=nova", "hf_repo=Tongyi-MAI/Z-Image-Turbo"),
        "is taken by mflux's z-image-turbo; choose another key or alias",
    ),
    (("model=nova", "hf_repo=acme/Nova", "cli_name=z-image"), "choose another"),
    (("model=Nova", "hf_repo=acme/Nova"), "type lower case letters"),
    (("model=nova", "hf_repo=acme/Nova", "vae=dc"), "Invalid choice for 'vae'"),
    (("model=nova",), 'Question "hf_repo" is required'),
    ((*NOVA, "steps"), "--data steps has no answer; write --data QUESTION=ANSWER"),
]


@pytest.mark.parametrize(("data", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_refusal_is_one_line_and_nothing_is_rendered(data, told, start, pristine, capfd):
    root = pristine()
    code, written = start(root, *data)
    said = capfd.readouterr()
    assert (code, written, said.out) == (2, 0, "")
    assert told in said.err and said.err.count("\n") == 1 and said.err.startswith("mflux-port: ")
    assert not (root / "porting").exists()


def test_shared_file_with_an_unknown_layout_is_refused_before_anything_is_rendered(start, checkout, capfd):
    root = checkout()
    registry = root / "src/mflux/models/common/config/model_config.py"
    registry.write_text(registry.read_text().replace("AVAILABLE_MODELS = {", "AVAILABLE_MODELS = dict(**{", 1))
    before = files(root)
    code, written = start(root, *NOVA)
    assert (code, written) == (2, 0) and "model_config.py" in capfd.readouterr().err
    assert files(root) == before


def test_folder_without_a_template_is_named(start, pristine, capfd):
    assert start(pristine(), *NOVA, source=Path("/nowhere"))[0] == 2
    assert "/nowhere" in capfd.readouterr().err
    assert start(pristine(), *NOVA, options=("--to=--upload-pack=touch",))[0] == 2
    assert "is not a version" in capfd.readouterr().err


def test_port_equals_the_one_that_copier_makes(start, checkout, copy_port, tmp_path, capfd):
    root, other = checkout(), checkout(name="other")
    answers = tmp_path / "answers.yml"
    answers.write_text("model: nova\nhf_repo: acme/Nova\nguidance: 3.5\nvariants: [txt2img, edit]\n")
    code, written = start(root, options=("--defaults", "--json", "--data-file", str(answers)))
    assert (code, written) == (0, 1)
    assert facts_of("copy", capfd.readouterr().out)["answers"] == "porting/nova/answers.yml"
    done = copy_port(other, model="nova", hf_repo="acme/Nova", guidance=3.5, variants=["txt2img", "edit"])
    assert done.returncode == 0, done.stderr
    ours, theirs = files(root), files(other)
    apart = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    assert apart == {"porting/nova/answers.yml"}  # it has the template's location and version
