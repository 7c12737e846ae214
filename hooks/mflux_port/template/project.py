"""Find the template, in a clone of this project or inside the installed package, and read its lists."""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.yaml_files import read_yaml

_HOSTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}  # Copier's short forms


def project_root() -> Path:
    """The folder that holds ``copier.yml``. Raises PortError when the installation lacks it."""
    package = Path(__file__).resolve().parents[1]
    for root in (package.parent.parent, package / "_project"):
        if (root / "copier.yml").is_file():
            return root
    raise PortError(f"{package} was installed without the template; install copier-mflux-port again")


def template_source() -> str:
    """The template of a new port: where this program was installed from (a git address or a clone), else its folder.

    An update finds newer versions there; the copy inside an installed package has none.
    """
    origin = _installed_from()
    url = origin.get("url", "")
    if "vcs_info" in origin:
        return f"git+{url}"
    clone = Path(url.removeprefix("file://"))
    return str(clone) if "dir_info" in origin and (clone / "copier.yml").is_file() else str(project_root())


def _installed_from() -> dict:
    # pip and uv store this file next to an installed package (PEP 610).
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return json.loads(distribution("copier-mflux-port").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return {}


def configuration(text: str | bytes) -> dict:
    """A ``copier.yml`` as one mapping, without the files that it includes."""
    import yaml  # every interpreter that runs Copier has PyYAML

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass

    Loader.add_multi_constructor("!", lambda *ignored: {})
    documents = [document for document in yaml.load_all(text, Loader) if isinstance(document, dict)]
    return {name: value for document in documents for name, value in document.items()}


def owned_paths(model: str) -> list[str]:
    """The files and folders of a port that its porter owns, relative to the checkout."""
    listed = read_yaml(project_root() / "components/owned_files.yml", "install copier-mflux-port again")
    return [re.sub(r"\{\{.*?\}\}", model, pattern) for pattern in listed]


def is_owned(name: str, owned: list[str]) -> bool:
    """Whether a file is the porter's: one of the paths ``owned``, or below one."""
    return any(name == path or name.startswith(f"{path}/") for path in owned)


def rendered_tests(model: str) -> list[str]:
    """The files that the template can render outside the port's two folders, relative to the checkout."""
    folder = project_root() / "template"
    names = [path.relative_to(folder).as_posix() for path in (folder / "tests").rglob("*.jinja")]
    plain = [re.sub(r"\{%.*?%\}|[.]jinja$", "", name) for name in names]
    return sorted(name.replace("{{ model }}", model) for name in plain)


def address(template: str, version: str) -> str:
    """A port's template as uv accepts it: ``git+https://…@commit``, or a local folder. Empty when not known."""
    host = next((host for host in _HOSTS if template.startswith(host)), "")
    where = _HOSTS.get(host, "") + template.removeprefix(host).removeprefix("git+")
    if "://" not in where:
        return where
    # Between two tags git describes a commit as v0.1.0-3-g1a2b3c4.
    commit = re.sub(r"^.*-g(?=[0-9a-f]+$)", "", version)
    return f"git+{where}@{commit}" if commit else f"git+{where}"
