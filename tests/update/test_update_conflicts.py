"""A hand edit and a template change on the same line: named with file and line, and nothing else is lost."""

from __future__ import annotations

import json

from tests.update.second_version import CONVENTION, change_conventions
from tests.update.template_versions import copy, host, point_to, status, update

INITIALIZER = "src/mflux/models/nova/nova_initializer.py"
COMMAND = "src/mflux/models/nova/cli/nova_generate.py"
MINE = "# Mine, where the template has something to say.\n"


def collide(root, *names: str) -> None:
    for name in names:
        path = root / name
        path.write_text(path.read_text().rstrip("\n") + "\n" + MINE)
    host.commit(root, "Edits at the end")


def line_of(root, name: str) -> int:
    lines = (root / name).read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.startswith("<<<<<<<"))


def test_conflict_names_file_and_line(port, template, mflux_port):
    collide(port, INITIALIZER)
    safe = port / "src/mflux/models/nova/variants/txt2img/nova.py"
    safe.write_text(MINE + safe.read_text())
    host.commit(port, "An edit elsewhere")
    change_conventions(template)
    template.tag("v0.2.0")
    done = mflux_port("update", "nova", cwd=port)
    assert done.returncode == 1, done.stderr
    assert f"conflict: {INITIALIZER}:{line_of(port, INITIALIZER)}" in done.stdout
    assert f"nova has conflicts in {INITIALIZER};" in done.stderr
    text = (port / INITIALIZER).read_text()
    assert MINE in text and CONVENTION in text
    assert safe.read_text().startswith(MINE) and safe.read_text().endswith(CONVENTION)
    assert [line for line in status(port).splitlines() if line.startswith("UU")] == [f"UU {INITIALIZER}"]
    assert "(v2)" in (port / "CHANGELOG.md").read_text()
    again = mflux_port("update", "nova", cwd=port)
    assert again.returncode == 2 and "conflicts left" in again.stderr and INITIALIZER in again.stderr


def test_copier_alone_names_conflicts_too(port, template):
    collide(port, COMMAND)
    change_conventions(template)
    template.tag("v0.2.0")
    done = update(port, "nova")
    assert done.returncode == 0
    assert f"conflict: {COMMAND}:{line_of(port, COMMAND)}" in done.stdout


def test_conflict_stops_all_and_the_rest_is_named(port, template, mflux_port):
    collide(port, INITIALIZER)
    copy(template.home, port, "vega", "v0.1.0")
    point_to(port, "vega", template.home)
    change_conventions(template)
    template.tag("v0.2.0")
    done = mflux_port("update", "--all", "--json", cwd=port)
    assert done.returncode == 1
    (report,) = json.loads(done.stdout)
    assert (report["model"], report["committed"]) == ("nova", False)
    assert report["conflicts"] == [{"file": INITIALIZER, "line": line_of(port, INITIALIZER), "why": ""}]
    assert "not updated yet: vega" in done.stderr
    path = port / INITIALIZER
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line[:7] not in _MARKS))
    host.commit(port, "Resolve")
    done = mflux_port("update", "--all", "--json", cwd=port)
    assert done.returncode == 0, done.stderr
    assert [(report["model"], report["committed"]) for report in json.loads(done.stdout)] == [
        ("nova", False),
        ("vega", True),
    ]
    assert status(port) == ""


_MARKS = ("<<<<<<<", "=======", ">>>>>>>")
