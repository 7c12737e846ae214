"""``mflux-port status`` around updates: levels, versions, and a port that cannot be read."""

from __future__ import annotations

import json
import shutil

import pytest
from mflux_port import __version__

from tests.update.template_versions import ANSWERS

FILE = ANSWERS.format(model="nova")


def test_level_is_compared_with_the_checkout(lent, mflux_port):
    level = "the port has API level 0.24, the checkout has 0.22"
    now = mflux_port("status", cwd=lent).stdout
    assert "API level 0.24\n" in now and level not in now
    (lent / "src/mflux/models/common/vae/vae_decode_options.py").unlink()  # new in 0.24
    then = mflux_port("status", cwd=lent).stdout
    assert "API level 0.24, the checkout has 0.22\n" in then and level in then


def test_unreadable_port_does_not_hide_the_others(lent, mflux_port):
    shutil.copytree(lent / "porting/nova", lent / "porting/vega")
    broken = ANSWERS.format(model="vega")
    (lent / broken).write_text("<<<<<<< before updating\nsteps: 1\n")
    done = mflux_port("status", cwd=lent)
    assert done.returncode == 1 and done.stderr == ""
    assert "nova: wired\n" in done.stdout
    assert "vega: cannot be read\n" in done.stdout and "is not valid YAML" in done.stdout
    assert f"conflict: {broken}:1\n" in done.stdout
    shown = json.loads(mflux_port("status", "--json", cwd=lent).stdout)["ports"]
    assert [port["model"] for port in shown] == ["nova", "vega"]
    assert "is not valid YAML" in shown[1]["error"] and shown[1]["conflicts"] == [f"{broken}:1"]


def test_next_step_of_a_port_of_another_version(lent, mflux_port):
    row = "models/nova/README.md"
    readme = lent / "README.md"
    readme.write_text("".join(line for line in readme.read_text().splitlines(True) if row not in line))
    answers = (lent / FILE).read_text()
    for version, step in (
        (f"v{__version__}", "next: mflux-port wire nova"),
        ("v0.0.1", "and the template is newer than the port; an update needs a clean tree\n"),
        ("v99.0.0", f"the port needs mflux-port v99.0.0 or later: this one is {__version__}\n"),
    ):
        (lent / FILE).write_text(answers.replace("_commit: v0.1.0", f"_commit: {version}"))
        assert step in mflux_port("status", cwd=lent).stdout


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_unprintable_characters_are_escaped(lent, mflux_port, variables):
    (lent / FILE).write_text((lent / FILE).read_text().replace("display_name: Nova", "display_name: N\u00f6va"))
    done = mflux_port("status", cwd=lent, env=variables)
    assert (
        done.returncode == 1
        and done.stderr == ""
        and "N\\xf6va" in done.stdout.encode("ascii", "backslashreplace").decode()
    )
