"""``copier update`` with replayed wiring against a bare one, and with other ports in the checkout."""

from __future__ import annotations

import re
import tempfile
from functools import partial
from pathlib import Path

from mflux_port.checkout import releases

from benchmarks.measure import Action, Row, medians, silence
from benchmarks.templates import git, snapshot, tag

CROWDS = (1, 10, 50)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        bare = _template(home / "bare", hooks=False)
        wired = _template(home / "wired", hooks=True)
        actions = {"bare": _update(home, bare, 1)}
        actions |= {f"{count} ports": _update(home, wired, count) for count in CROWDS}
        times = medians(actions)
    return [
        Row("update, bare Copier", times["bare"] * 1000, "ms"),
        Row("update with wiring replayed", times["1 ports"] * 1000, "ms"),
        Row("update with wiring / bare Copier", times["1 ports"] / times["bare"], "×", 1.25),
        Row("update with 10 ports there / with 1", times["10 ports"] / times["1 ports"], "×"),
        Row("update with 50 ports there / with 1", times["50 ports"] / times["1 ports"], "×"),
    ]


def _template(home: Path, hooks: bool) -> Path:
    """A repository with two versions of the template that differ in one line; without ``hooks``, Copier merges."""
    snapshot(home)
    if not hooks:
        questions = (home / "copier.yml").read_text(encoding="utf-8")
        settings = r"^_(subdirectory|exclude|tasks|migrations):.*\n(?:[ #].*\n|\n)*"
        questions = "_subdirectory: template\n" + re.sub(settings, "", questions, flags=re.MULTILINE)
        (home / "copier.yml").write_text(questions, encoding="utf-8")
        git(home, "tag", "--delete", "v0.1.0")
        tag(home, "v0.1.0")
    initializer = next((home / "template").rglob("*_initializer.py.jinja"))
    initializer.write_text(initializer.read_text(encoding="utf-8") + "\n# A convention.\n", encoding="utf-8")
    tag(home, "v0.2.0")
    return home


def _update(home: Path, template: Path, ports: int) -> Action:
    import copier

    root = releases.checkout(releases.NEWEST, home / f"{template.name}-{ports}")
    for number in range(ports):
        answers = {"model": f"port_{number:02}", "hf_repo": f"org/Port-{number:02}"}
        with silence():
            copier.run_copy(str(template), root, data=answers, vcs_ref="v0.1.0", defaults=True, unsafe=True, quiet=True)
    releases.commit(root, "Ports")
    return Action(partial(_update_first, root), partial(_back, root))


def _update_first(root: Path) -> None:
    import copier

    with silence():
        copier.run_update(
            root,
            answers_file="porting/port_00/answers.yml",
            defaults=True,
            overwrite=True,
            unsafe=True,
            quiet=True,
        )


def _back(root: Path) -> None:
    git(root, "reset", "--hard", "--quiet", "HEAD")
    git(root, "clean", "-d", "--force", "--quiet")
