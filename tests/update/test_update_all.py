"""Several ports in one checkout, updated by one command."""

from __future__ import annotations

import os

import pytest

from tests.json_forms import facts_of
from tests.update.second_version import CONVENTION, change_conventions
from tests.update.template_versions import BESIDE, NOVA, copy, git, releases, status, tree

NAMES = ("nova", "vega", "lyra", "orion", "cygnus", "draco", "aquila", "corvus", "hydra", "pavo")
MODELS = NAMES[: int(os.environ.get("UPDATE_PORTS", "3"))]
MINE = "# Mine.\n"


@pytest.mark.full
def test_all_ports_are_updated(port, template, fresh, mflux_port):
    for model in MODELS[1:]:
        copy(BESIDE, port, model, "v0.1.0")
    edited = port / "src/mflux/models/lyra/lyra_initializer.py"
    edited.write_text(MINE + edited.read_text())
    releases.commit(port, "Edit one port")
    change_conventions(template)
    template.tag("v0.2.0")
    done = mflux_port("update", "--all", "--json", cwd=port)
    assert done.returncode == 0, done.stderr
    reports = facts_of("update", done.stdout)["updates"]
    assert [report["model"] for report in reports] == sorted(MODELS)
    assert all(report["committed"] and not report["conflicts"] for report in reports)
    assert status(port) == ""
    subjects = git(port, "log", "--format=%s", f"-{len(MODELS)}").splitlines()
    assert subjects == [f"Update the port of {model} to template v0.2.0" for model in sorted(MODELS, reverse=True)]
    updated, copied = tree(port), fresh(template, "v0.2.0", nova=NOVA, **{model: {} for model in MODELS[1:]})
    assert sorted(updated) == sorted(copied)
    different = [name for name in copied if updated[name] != copied[name]]
    assert different == [edited.relative_to(port).as_posix()]
    assert edited.read_text().startswith(MINE) and edited.read_text().endswith(CONVENTION)
