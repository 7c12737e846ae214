"""A copy that was killed or refused leaves files; the next copy must handle them."""

from __future__ import annotations

import fnmatch
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest
from jinja2_ansible_filters import AnsibleCoreFiltersExtension
from mflux_port.checkout import releases
from mflux_port.update.after_copy import finish_copy

from tests.faults.runs import copier, mflux_port, run
from tests.faults.tree import Tree, different
from tests.template import rendering

_MODEL = "src/mflux/models/nova"
_OWNED = (f"{_MODEL}/latent_creator/nova_latent_creator.py", f"{_MODEL}/model/nova_scheduler/__init__.py")


@pytest.fixture(scope="module")
def copied(pristine, small_template, tmp_path_factory) -> Path:
    """A checkout with a fresh, untracked copy."""
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("copied") / "mflux")
    done = run(_copy(small_template.home), root)
    assert done.status == 0, done.err
    return root


@pytest.fixture
def tree(copied, tmp_path) -> Tree:
    return Tree(shutil.copytree(copied, tmp_path / "mflux"))


def _copy(template: Path, *answers: str):
    options = ["--trust", "--defaults", "--overwrite", "--quiet", "--vcs-ref", "v0.1.0"]
    given = ("model=nova", "hf_repo=acme/Nova", "scheduler=own", *answers)
    return copier("copy", *options, *[word for answer in given for word in ("-d", answer)], str(template), ".")


@pytest.mark.full
@pytest.mark.parametrize("cut", [0, 100])
def test_truncated_files_are_completed(cut, tree, small_template):
    whole = tree.state()
    unwire(tree)
    for name in _OWNED:
        path = tree.root / name
        path.write_bytes(path.read_bytes()[:cut])
    done = run(_copy(small_template.home), tree.root)
    assert done.status == 0, done.err
    assert tree.state() == whole, different(tree.state(), whole)


@pytest.mark.full
def test_a_refused_copy_leaves_what_the_porter_wrote(tree, small_template):
    unwire(tree)
    mine = (_OWNED[0], f"{_MODEL}/model/nova_transformer/mine.py", f"{_MODEL}/mine.md")
    for name in mine:
        (tree.root / name).write_text("# Mine.\n")
    answers = '[{"key": "nova", "hf_repo": "acme/Nova", "aliases": ["z-image"]}]'
    done = run(_copy(small_template.home, f"checkpoints={answers}"), tree.root)
    assert done.status != 0 and "taken by mflux's" in done.err
    left = [name for name in tree.state() if "nova" in name]
    assert sorted(left) == sorted(mine)
    assert all((tree.root / name).read_text() == "# Mine.\n" for name in mine)


@pytest.mark.full
def test_a_busy_checkout_leaves_the_rendered_files(tree, monkeypatch, capsys):
    from mflux_port.checkout import lock
    from mflux_port.update import after_copy

    monkeypatch.setattr(after_copy, "_PATIENCE", 0.1)
    before = tree.state()
    with lock.exclusive(tree.root):
        assert finish_copy(tree.root, "nova") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "another mflux-port run is active" in said and "was rendered but not wired" in said
    assert tree.state() == before


@pytest.mark.full
def test_copy_names_files_that_git_ignores(tree, capsys):
    (tree.root / ".git/info").mkdir(exist_ok=True)
    (tree.root / ".git/info/exclude").write_text("models/\n")
    assert finish_copy(tree.root, "nova") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("git ignores ")]
    assert "git add --force -- " in line and f"'{_MODEL}/*.py'" in line


def unwire(tree: Tree) -> None:
    assert run(mflux_port("unwire", "nova"), tree.root).status == 0


def test_only_files_of_this_template_count_as_its_own(copied_names, refusal):
    for name in copied_names:
        assert refusal([name], "nova_image") == "", name
    for version in releases.RELEASES:
        models = releases.source(version) / "src/mflux/models"
        for folder in (
            path.parent for path in models.glob("*/__init__.py") if not path.parent.name.startswith("common")
        ):
            names = [path.relative_to(models.parents[2]).as_posix() for path in folder.rglob("*.py")]
            assert "this template did not make it" in refusal(names, folder.name), (version, folder.name)


@pytest.fixture(scope="module")
def copied_names() -> list[str]:
    """Every module that the template renders for some answers."""
    home = Path(__file__).resolve().parents[2] / "template"
    names = [path.relative_to(home).as_posix() for path in (home / "src").rglob("*.py*") if "{% yield" not in path.name]
    plain = [re.sub(r"\{% (if|endif)[^%]*%\}", "", name).replace("{{ model }}", "nova_image") for name in names]
    made = "src/mflux/models/nova_image/cli/nova_image_base_generate.py"
    return [*(name.removesuffix(".jinja") for name in plain), made]


@pytest.fixture(scope="module")
def refusal() -> Callable[[list[str], str], str]:
    """``refusal(files, model)``: the message of the question for the name, in a checkout with these files."""
    environment = jinja2.Environment(
        extensions=[AnsibleCoreFiltersExtension], loader=jinja2.FileSystemLoader(rendering.PROJECT)
    )
    rules = {name: rendering.hidden_answer("answer_rules", name) for name in ("answer_rules", "python_words")}
    present: list[str] = []

    def fileglob(pattern: str) -> list[str]:
        depth = pattern.count("/")
        return [name for name in present if name.count("/") == depth and fnmatch.fnmatchcase(name, pattern)]

    environment.filters["fileglob"] = fileglob
    validator = environment.get_template("components/validators/model.jinja")

    def ask(names: list[str], model: str) -> str:
        present[:] = [f"/checkout/{name}" for name in (*names, "src/mflux/models/common/config/model_config.py")]
        places = {"src_path": "/template", "dst_path": "/checkout"}
        return validator.render(model=model, _copier_conf=places, _copier_answers={}, **rules).strip()

    return ask
