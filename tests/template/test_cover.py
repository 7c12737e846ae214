"""Every two compatible answers, on every API level: rendered into real releases, compiled, linted, type-checked,
checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mflux_port.checkout import releases
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.run_rules import check, failures

from tests.template import bound_names, cover, dead_text, ports, rendering, tools

PORTS = list(enumerate(cover.cover()))


@dataclass
class Release:
    """A checkout of a release with every port of the cover that belongs to it."""

    name: str
    checkout: Path
    files: dict[int, list[Path]] = field(default_factory=dict)

    def every_file(self) -> list[Path]:
        return [path for files in self.files.values() for path in files]


@pytest.fixture(scope="module", params=cover.FACTORS["release"])
def release(request, tmp_path_factory) -> Release:
    template = rendering.template_copy(tmp_path_factory.mktemp("template"))
    checkout = releases.checkout(request.param, tmp_path_factory.mktemp("cover") / "mflux")
    made = Release(request.param, checkout)
    for number, port in PORTS:
        if port["release"] == request.param:
            answers = ports.answers(port, number)
            made.files[number] = rendering.render(template, checkout, answers)
            rendering.wire(checkout, answers["model"])
    return made


def test_every_two_compatible_answers_occur_together():
    met = {pair for _, port in PORTS for pair in cover.pairs(port)}
    assert all(cover.admissible(port) and port.keys() == cover.FACTORS.keys() for _, port in PORTS)
    for pair in cover.all_pairs() - met:
        assert not any(map(cover.admissible, _every_port_with(pair))), f"no port has both of {sorted(pair, key=str)}"


def _every_port_with(pair: cover.Pair):
    # Computed without the algorithm's pruning: every combination of the other answers that a rule names.
    named = {name for rule in cover._REFUSED for name in rule}
    rest = {name: values for name, values in cover.FACTORS.items() if name in named and name not in dict(pair)}
    made = [dict(pair)]
    for name, values in rest.items():
        made = [{**port, name: value} for port in made for value in values]
    return made


@pytest.mark.full
class TestRelease:
    def test_ports_compile(self, release):
        sources = [path for path in release.every_file() if path.suffix == ".py"]
        assert len(sources) > 40 * len(release.files)
        for path in sources:
            compile(path.read_text(encoding="utf-8"), path, "exec")

    def test_ports_are_clean_for_the_ruff_of_the_release(self, release):
        sources = [path for path in release.every_file() if path.suffix == ".py"]
        sources.append(release.checkout / "src/mflux/models/common/config/model_config.py")
        said = tools.ruff(release.checkout, release.name, sources)
        assert not said, said

    def test_ports_pass_the_type_checker_of_the_release(self, release):
        models = release.checkout / "src/mflux/models"
        packages = [models / ports.answers(dict(PORTS)[number], number)["model"] for number in release.files]
        assert tools.type_errors(release.checkout, release.name, packages) == ""

    def test_ports_have_no_failing_row(self, release):
        models = [ports.answers(dict(PORTS)[number], number)["model"] for number in release.files]
        assert len(models) > 10
        rows = check(Checkout(release.checkout), models)
        assert {row.model for row in rows} == set(models)
        assert [(row.model, row.rule, row.detail) for row in failures(rows)] == []

    def test_class_names_that_would_clash_are_refused(self, release):
        taken = rendering.hidden_answer("taken_class_names")
        clashing = set()
        for number, files in release.files.items():
            model = ports.answers(dict(PORTS)[number], number)["model"]
            class_name = "".join(part[:1].upper() + part[1:] for part in model.split("_"))
            modules = [path for path in files if path.suffix == ".py" and "/porting/" not in path.as_posix()]
            clashing |= {name for path in modules for name in bound_names.clashing(path, model, class_name)}
        assert {"Config", "ModelConfig", "Flux2"} <= clashing <= set(taken)

    def test_disabled_features_leave_no_words(self, release):
        found = []
        for number, files in release.files.items():
            port = dict(PORTS)[number]
            found += dead_text.dead_text(port, ports.answers(port, number)["model"], files)
        assert found == []
