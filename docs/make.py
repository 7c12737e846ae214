"""Write what programs print into these pages: `uv run python docs/make.py`. A test keeps the pages equal to it.

A page holds blocks between `<!-- output: NAME -->` and `<!-- end -->`. NAME is `rules`, `gaps RELEASE`, or
`fresh: COMMAND` and `complete: COMMAND`, run in a port as the template renders it and in one brought to its end;
`| head N` at the end keeps the first lines.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "hooks"), str(PROJECT)]

from mflux_port import cli  # noqa: E402
from mflux_port.checkout.tree import Checkout  # noqa: E402
from mflux_port.checks.engine.evaluate import check, failures  # noqa: E402
from mflux_port.checks.engine.registry import rules_when  # noqa: E402
from mflux_port.checks.engine.rule import MERGE, RUN  # noqa: E402

BLOCK = re.compile(r"(?P<head><!-- output: (?P<name>.+?) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.DOTALL)
Places = dict[str, Callable[[], Path]]


def pages() -> list[Path]:
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def filled(text: str, places: Places) -> str:
    """``text`` with every block made anew. ``places`` gives the checkouts: fresh, complete, and one per release."""
    return BLOCK.sub(lambda match: match["head"] + _body(match["name"], places) + match["tail"], text)


def _body(name: str, places: Places) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "rules":
        return _rules()
    if kind == "gaps":
        return _gaps(places[rest]())
    command, _, cut = rest.partition(" | head ")
    printed = _printed(command.split()[1:], places[kind.rstrip(":")]())
    lines = printed.splitlines()
    kept = lines[: int(cut)] if cut else lines
    more = ["…"] if len(lines) > len(kept) else []
    return "```console\n" + "\n".join([f"$ {command}", *kept, *more]) + "\n```\n"


def _printed(arguments: list[str], root: Path) -> str:
    out, before = io.StringIO(), Path.cwd()
    os.chdir(root)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            cli.main(arguments)
    finally:
        os.chdir(before)
    # The template's version and the port's commits are the day's, its place is this machine's.
    text = re.sub(r"template [\w.+-]+;", "template v0.1.0;", out.getvalue().replace(str(PROJECT), "<template>"))
    return re.sub(r"commit [0-9a-f]{7,40}\b", "commit 1a2b3c4", text)


def _rules() -> str:
    asked = {"always": "", "merge": "`--merge`", "run": "`--run`"}
    rows = [
        f"| {rule.id} | {_cell(rule.title)} | {asked[rule.when]} | {_cell(rule.why)} |"
        for rule in rules_when(MERGE, RUN)
    ]
    return "\n".join(["| Rule | What must hold | Asked with | Why |", "|---|---|---|---|", *rows]) + "\n"


def _gaps(root: Path) -> str:
    by_rule: dict[str, list] = {}
    for row in failures(check(Checkout(root), [])):
        by_rule.setdefault(row.rule, []).append(row)
    rows = []
    for rule, found in by_rule.items():
        evidence = "<br>".join(f"{row.model}: {_cell(_shortened(row.detail))}" for row in found)
        rows.append(f"| {rule} {_cell(found[0].title)} | {evidence} |")
    return "\n".join(["| Rule | Found |", "|---|---|", *rows]) + "\n"


def _shortened(text: str) -> str:
    text = text.replace("src/mflux/models/", "")
    return text if len(text) <= 160 else f"{text[:157]}…"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _places(scratch: Path) -> Places:
    from mflux_port.checkout import releases

    from tests.checks import complete_port

    made: dict[str, Path] = {}

    def place(name: str, make: Callable[[Path], Path]) -> Callable[[], Path]:
        return lambda: made.get(name) or made.setdefault(name, make(scratch / name))

    def fresh(path: Path) -> Path:
        return complete_port.render(releases.checkout(releases.NEWEST, path))

    pristine = {
        version: place(version, lambda path, v=version: releases.checkout(v, path)) for version in releases.RELEASES
    }
    return {
        "fresh": place("fresh", fresh),
        "complete": place("complete", lambda p: complete_port.complete(fresh(p))),
    } | pristine


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = _places(Path(folder))
        for page in pages():
            page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")
