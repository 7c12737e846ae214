"""Real mflux checkouts for the tests. Sources and environments are downloaded once and kept in the cache folder."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from mflux_port import __version__
from mflux_port.checkout import releases
from xdist.scheduler import LoadScopeScheduling

from tests import preloaded
from tests.json_forms import form_of
from tests.network import may_download

PROJECT = Path(__file__).resolve().parents[1]
# The tests of these folders share fixtures that take longer than a second process would save.
TOGETHER = ("parity", "faults")


def pytest_configure(config: pytest.Config) -> None:
    phases = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a failure takes minutes
    settings.register_profile("quick", max_examples=25, deadline=None, phases=phases)
    settings.register_profile("full", max_examples=300, deadline=None, phases=phases)
    settings.load_profile("quick" if "not full" in config.option.markexpr else "full")
    # Every core has its own worker: PyTorch threads in one would only wait for those in another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.dont_write_bytecode and not hasattr(config, "workerinput"):
        # Hundreds of tests start Copier: without bytecode, each start compiles Copier and all that it imports.
        for folder in (sysconfig.get_path("purelib"), PROJECT / "hooks"):
            compileall.compile_dir(folder, quiet=2)


@pytest.hookimpl(tryfirst=True)  # runs before ``-m`` selects tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if may_download(item):
            item.add_marker(pytest.mark.network)


class ByFile(LoadScopeScheduling):
    """The tests of one file share checkouts, so they run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        return folder if folder in TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory) -> None:
    """Git and Copier ignore the settings of the person who runs the tests."""
    home = tmp_path_factory.mktemp("configuration")
    (home / "gitconfig").write_text(
        "[user]\n\tname = mflux-port\n\temail = mflux-port@localhost\n[commit]\n\tgpgsign = false\n"
    )
    (home / "copier.yml").write_text("{}\n")
    for name in [name for name in os.environ if name.startswith("GIT_") and name != "GIT_SSL_CAINFO"]:
        del os.environ[name]
    os.environ["GIT_CONFIG_GLOBAL"] = str(home / "gitconfig")
    os.environ["COPIER_SETTINGS_PATH"] = str(home / "copier.yml")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["MLX_DISABLE_COMPILE"] = "1"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Callable[[str], Path]:
    """``pristine(version)``: one git checkout of a release for the whole run. Do not write into it."""
    made: dict[str, Path] = {}

    def make(version: str = releases.NEWEST) -> Path:
        if version not in made:
            root = releases.checkout(version, tmp_path_factory.mktemp("pristine") / f"mflux-{version}")
            # One pack file instead of a file per object, because hundreds of tests copy the checkout.
            subprocess.run(["git", "-C", str(root), "repack", "-a", "-d", "--quiet"], check=True)
            made[version] = root
        return made[version]

    return make


@pytest.fixture
def checkout(tmp_path, pristine) -> Callable[..., Path]:
    """``checkout(version)``: a git checkout of a release for one test, with a clean tree."""

    def make(version: str = releases.NEWEST, name: str = "mflux") -> Path:
        return shutil.copytree(pristine(version), tmp_path / name)

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """This project as a clean git repository with one commit, tagged with its version, as a porter uses it."""
    home = tmp_path_factory.mktemp("template") / "copier-mflux-port"
    listed = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (PROJECT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, home / name)
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(home)], check=True)
    releases.commit(home, "Snapshot")
    subprocess.run(["git", "-C", str(home), "repack", "-a", "-d", "--quiet"], check=True)  # Copier clones it often
    subprocess.run(["git", "-C", str(home), "tag", f"v{__version__}"], check=True)
    return home


@pytest.fixture(scope="session")
def copy_port(template) -> Callable[..., subprocess.CompletedProcess]:
    """``copy_port(root, model="foo", hf_repo="org/Foo", …)``: run ``copier copy`` as a user does."""

    def run(root: Path, *options: str, **answers) -> subprocess.CompletedProcess:
        data = root.with_name(f"{root.name}-answers.yml")
        data.write_text(json.dumps(answers), encoding="utf-8")
        command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--overwrite", "--data-file"]
        command += [str(data), *options, str(template), str(root)]
        return subprocess.run(command, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def environment() -> Callable[..., Path]:
    """``environment(version)``: the Python of an environment that runs a release (without mflux in it)."""
    return releases.environment


@pytest.fixture
def installed() -> Callable[..., Path]:
    """``installed(root, version)``: install a checkout into its own ``.venv`` and return that Python."""

    def make(root: Path, version: str = releases.NEWEST) -> Path:
        return releases.install(root, releases.environment(version))

    return make


@pytest.fixture(scope="session")
def mflux_port() -> Callable[..., subprocess.CompletedProcess]:
    """``mflux_port("wire", "foo", cwd=root)``: the command as a person runs it.

    What it prints as JSON must be documented.
    """

    def run(*arguments: object, cwd: Path, python: Path | None = None, **more) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks"), **more.pop("env", {})}
        command = [str(python or sys.executable), "-m", "mflux_port", *map(str, arguments)]
        if python and python.is_relative_to(releases.cache_dir()) and not more:
            done = preloaded.run(command, cwd, environment)
        else:
            done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, **more)
        if "--json" in arguments and done.returncode in (0, 1):
            form_of(done.stdout)
        return done

    return run


@pytest.fixture
def diffusers_folder(tmp_path) -> Path:
    """A pipeline's folder with one transformer, a VAE's config and a tokenizer; tests add the weights."""
    root = tmp_path / "pipeline"
    index = {"_class_name": "NovaPipeline", "transformer": ["diffusers", "NovaTransformer2DModel"]}
    (root / "transformer").mkdir(parents=True)
    (root / "tokenizer").mkdir()
    (root / "model_index.json").write_text(json.dumps(index))
    config = {"_class_name": "NovaTransformer2DModel", "num_layers": 4, "hidden_size": 64}
    (root / "transformer" / "config.json").write_text(json.dumps(config))
    (root / "tokenizer" / "tokenizer.json").write_text("{}")
    return root


@pytest.fixture(scope="session")
def diffusers_python() -> Path:
    """The Python of an environment with mflux 0.24, diffusers and transformers."""
    return releases.environment("0.24.0", ("diffusers==0.42.*",))


@pytest.fixture(scope="session")
def references(tmp_path_factory, diffusers_python) -> Path:
    """The folder with <family>-<full|tiny> for Z-Image, FLUX.2 Klein and Qwen-Image: real headers, no data."""
    out = tmp_path_factory.mktemp("references")
    script = str(PROJECT / "tests/draft/modules/build_references.py")
    done = preloaded.run([str(diffusers_python), script, str(out)], PROJECT, os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def run_in(python: Path, script: Path, *arguments: object, source: Path) -> str:
    """Run a script in an mflux environment, with ``source`` as its mflux and this project on the path."""
    paths = os.pathsep.join([str(PROJECT / "hooks"), str(source)])
    command = [str(python), str(script), *map(str, arguments)]
    done = preloaded.run(command, PROJECT, {**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
