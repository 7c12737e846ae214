"""Update the output of programs in these pages, or start a rule.

    uv run python docs/make.py                 # a test fails when a page is out of date
    uv run python docs/make.py new-rule LAY15  # the rule, its failing example and its row in the checklist

A page has blocks between `<!-- output: NAME -->` and `<!-- end -->`. NAME is `rules`, `json`, `gaps RELEASE`,
`fresh: COMMAND` (run in a port as the template renders it) or `complete: COMMAND` (run in a finished port);
`| head N` at the end keeps the first N lines.
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
sys.path[:0] = [str(PROJECT / folder) for folder in ("hooks", ".", "docs")]

from mflux_port import __version__, cli  # noqa: E402
from mflux_port.checkout.tree import Checkout  # noqa: E402
from mflux_port.checks.engine.registry import rules_when  # noqa: E402
from mflux_port.checks.engine.rule import MERGE, RUN  # noqa: E402
from mflux_port.checks.engine.run_rules import check, failures  # noqa: E402
from mflux_port.json_output import FIELDS  # noqa: E402

BLOCK = re.compile(r"(?P<head><!-- output: (?P<name>.+?) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.DOTALL)
Places = dict[str, Callable[[], Path]]


def pages() -> list[Path]:
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def filled(text: str, places: Places, only: str = ".") -> str:
    """Replace every block in ``text``. ``places`` makes the checkouts: fresh, complete, and one per release."""

    def fill(block: re.Match) -> str:
        return (
            block["head"] + _body(block["name"], places) + block["tail"] if re.match(only, block["name"]) else block[0]
        )

    return BLOCK.sub(fill, text)


def _body(name: str, places: Places) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "rules":
        return _rules()
    if kind == "json":
        return _json()
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
    # Replace versions, commits and paths, which differ between machines and days.
    text = re.sub(
        r"template [\w.+-]+;", f"template v{__version__};", out.getvalue().replace(str(PROJECT), "<template>")
    )
    return re.sub(r"commit [0-9a-f]{7,40}\b", "commit 1a2b3c4", text)


def _rules() -> str:
    option = {"always": "", "merge": "`--merge`", "run": "`--run`"}
    rows = [
        f"| {rule.id} | {_cell(rule.title)} | {option[rule.when]} | {_cell(rule.why)} |"
        for rule in rules_when(MERGE, RUN)
    ]
    return "\n".join(["| Rule | What must be true | Option | Why |", "|---|---|---|---|", *rows]) + "\n"


def _json() -> str:
    rows = [
        f"| {f'`{form}`' if first else ''} | `{field}` | {_cell(meaning)} |"
        for form, fields in FIELDS.items()
        for first, (field, meaning) in zip([True, *[False] * len(fields)], fields.items(), strict=False)
    ]
    return "\n".join(["| Command | Field | What it is |", "|---|---|---|", *rows]) + "\n"


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


def write_pages(only: str = ".") -> None:
    """Update the blocks whose name matches ``only``, a regular expression."""
    with tempfile.TemporaryDirectory() as folder:
        places = _places(Path(folder))
        for page in pages():
            text = page.read_text(encoding="utf-8")
            page.write_text(filled(text, places, only), encoding="utf-8")


def start_rule(id: str) -> int:
    """Add a rule and list what was written. Returns 2 when the id cannot be used."""
    import new_rule

    try:
        written = new_rule.add(PROJECT, id)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    write_pages(only="rules")
    print("\n".join([f"{id} is started:", *(f"  {line}" for line in written)]))
    print("next: replace each TODO, run `uv run pytest tests/checks`, then `uv run python docs/make.py`")
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            write_pages()
            return 0
        case ["new-rule", id]:
            return start_rule(id)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
