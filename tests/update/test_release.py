"""The project's own releases: one place for the version, named in the changelog, tagged vX.Y.Z."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import copier._main
from jinja2 import Template
from mflux_port import __version__
from mflux_port.template.project import configuration

from tests.update.template_versions import PROJECT, git

TAG = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def test_changelog_names_the_version_first():
    headings = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading.split()[0] for heading in headings if heading.lower() != "unreleased"]
    assert released[0] == __version__
    assert len(set(released)) == len(released)


def test_version_makes_a_tag_and_is_in_one_place():
    assert TAG.fullmatch(f"v{__version__}")
    metadata = (PROJECT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in metadata and not re.search(r"^version\s*=", metadata, re.MULTILINE)


def test_tags_are_releases():
    assert [tag for tag in git(PROJECT, "tag", "--list").split() if not TAG.fullmatch(tag)] == []


def test_no_registry_is_named():
    """Tools download packages by name; no file names a registry. (uv writes addresses into its lock file.)"""
    # The name is joined from parts, so that this file does not contain it.
    names = ("files.python" + "hosted.org", "py" + "pi.org", "crates" + ".io", "npm" + "js.org")
    hosts = re.compile("|".join(map(re.escape, names)), re.IGNORECASE)
    found = []
    for name in git(PROJECT, "ls-files", "-z").split("\0"):
        path = PROJECT / name
        if name and name != "uv.lock" and path.is_file():
            found += [name] if hosts.search(path.read_bytes().decode("utf-8", "replace")) else []
    assert found == []


def test_every_version_that_changes_ports_has_its_migration():
    text = (PROJECT / "copier.yml").read_text()
    versions = re.findall(r"^  - version: v(\S+)$", text, re.MULTILINE)
    assert versions and all(
        tuple(map(int, one.split("."))) <= tuple(map(int, __version__.split("."))) for one in versions
    )


def test_last_step_of_an_update_merges_all_files_except_the_answers():
    text = (PROJECT / "copier.yml").read_text()
    listed = text[text.index("_exclude:") : text.index("_tasks:")]
    left_out = re.findall(r"== 'update' %\}(.+)\{% endif %\}", listed)
    assert left_out == ["*", "!{{ _copier_conf.answers_file }}"]


def test_copiers_temporary_copies_contain_only_the_answers():
    place = Template(configuration((PROJECT / "copier.yml").read_text())["_subdirectory"])
    copies = re.findall(r"\{__name__\}(\.\w+_copy\.)", inspect.getsource(copier._main.Worker._apply_update))
    assert copies == [".old_copy.", ".new_copy."]
    for name in copies:
        where = {"dst_path": Path(f"/tmp/{copier._main.__name__}{name}x1/mflux")}
        assert place.render(_copier_conf=where) == "components/answers_only"
    for name in (".", "/tmp/copier._main.rendered.x1/port", "/home/mflux"):
        assert place.render(_copier_conf={"dst_path": Path(name)}) == "template"
    (answers,) = (PROJECT / "components/answers_only").iterdir()
    assert (PROJECT / "template" / answers.name).is_file()
