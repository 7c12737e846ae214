"""``copier copy`` with wiring against bare Copier on the same files, and with other ports already in the checkout.

Both clone the template, as every copy from a git address does: the hooks run from a folder without compiled modules.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from mflux_port.checkout import releases

from benchmarks.measure import Action, Row, medians, silence
from benchmarks.templates import snapshot

CROWDS = (1, 10, 50)
SHARED = ("pyproject.toml", "README.md", "CHANGELOG.md", ".gitignore", "src/mflux/cli", "src/mflux/models/common")


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        template = snapshot(Path(scratch, "template"))
        pristine = releases.checkout(releases.NEWEST, Path(scratch, "mflux"))
        times = _against_copier(template, pristine)
        crowds = _crowds(template, pristine)
    return [
        Row("copy, bare Copier", times["bare"] * 1000, "ms"),
        Row("copy with wiring", times["wired"] * 1000, "ms"),
        Row("copy with wiring / bare Copier", times["wired"] / times["bare"], "×", 1.25),
        Row("copy with 10 ports there / with 1", crowds[10] / crowds[1], "×", 1.10),
        Row("copy with 50 ports there / with 1", crowds[50] / crowds[1], "×", 1.10),
    ]


def _against_copier(template: Path, pristine: Path) -> dict[str, float]:
    bare, wired = (shutil.copytree(pristine, pristine.with_name(name)) for name in ("bare", "wired"))
    return medians(
        {
            "bare": Action(partial(_copy, template, bare, "fresh", skip_tasks=True), partial(_reset, bare, pristine)),
            "wired": Action(partial(_copy, template, wired, "fresh"), partial(_reset, wired, pristine)),
        }
    )


def _crowds(template: Path, pristine: Path) -> dict[int, float]:
    crowd = shutil.copytree(pristine, pristine.with_name("crowd"))
    actions = {}
    for number in range(max(CROWDS)):
        _copy(template, crowd, f"member_{number:02}")
        if number + 1 in CROWDS:
            before = shutil.copytree(crowd, crowd.with_name(f"before-{number + 1}"))
            root = shutil.copytree(crowd, crowd.with_name(f"crowd-{number + 1}"))
            actions[number + 1] = Action(partial(_copy, template, root, "fresh"), partial(_reset, root, before))
    return medians(actions)


def _reset(root: Path, before: Path) -> None:
    shutil.rmtree(root / "src/mflux/models/fresh", ignore_errors=True)
    shutil.rmtree(root / "porting/fresh", ignore_errors=True)
    for path in (root / "tests").rglob("*fresh*"):
        path.unlink()
    for name in SHARED:
        if (before / name).is_dir():
            shutil.rmtree(root / name)
            shutil.copytree(before / name, root / name)
        else:
            shutil.copyfile(before / name, root / name)


def _copy(template: Path, root: Path, model: str, skip_tasks: bool = False) -> None:
    import copier

    answers = {"model": model, "hf_repo": f"org/{model}"}
    with silence():
        copier.run_copy(
            str(template), root, data=answers, defaults=True, unsafe=True, quiet=True, skip_tasks=skip_tasks
        )
