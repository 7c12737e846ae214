"""Documents outside the package: the root README's tables, the changelog, the release note."""

from __future__ import annotations

import re

from mflux_port.checks.engine import reasons
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, needs_you, none_of, not_applicable, passed, rule

_README = "src/mflux/models/<model>/README.md"
_ROOT = "README.md"


def _display_name(package: Package) -> str:
    if package.port:
        return package.port.display_name
    found = re.search(r"\[([^\]]+)\]", " ".join(package.readme_row))
    return found.group(1) if found else package.model


@rule(
    "DOC01",
    looks_at=_ROOT,
    fix="mflux-port wire <model>, or add the row to the table of models",
    why="two ports entered the table one release late",
    only=reasons.draws,
)
def model_table_has_a_row(package: Package) -> Verdict:
    """The root README's table has a row that links the port's README"""
    return passed() if package.readme_row else failed("no row")


@rule(
    "DOC02",
    looks_at=_ROOT,
    fix="write release date and size of the model into the row",
    why="the wiring cannot know them and leaves a question mark",
    only=reasons.draws,
    when=MERGE,
)
def model_table_row_is_complete(package: Package) -> Verdict:
    """The row in the root README has no question mark left"""
    if not package.readme_row:
        return failed("no row")
    return failed("a cell is still ?") if "?" in package.readme_row else passed()


@rule(
    "DOC03",
    looks_at=f"{_ROOT}, acknowledgements",
    fix="add '- <vendor> for the [<name> project](<address>)'",
    why="attribution was forgotten or came late",
    only=reasons.draws,
)
def authors_are_acknowledged(package: Package) -> Verdict:
    """The root README thanks the model's authors"""
    bullets = [
        line.lower()
        for line in package.facts.text(_ROOT).splitlines()
        if " for the [" in line and line.startswith("- ")
    ]
    if not bullets:
        return not_applicable("the README has no acknowledgements")
    name = _display_name(package).lower()
    owners = {entry.repo.split("/")[0].lower() for entry in package.entries if entry.repo}
    words = {name, name.split()[0], package.model.replace("_", " "), *owners}
    words |= {owner.replace("-", " ") for owner in owners}
    return (
        passed() if any(word in line for word in words for line in bullets) else failed("no bullet names the authors")
    )


@rule(
    "DOC04",
    looks_at=f"{_ROOT}, table of contributors",
    fix="add the row '| <name> | [@you](…) | [#n](…) |' when the pull request has its number",
    why="every port since the table came has a row",
    only=reasons.draws,
    when=MERGE,
)
def contributor_has_a_row(package: Package) -> Verdict:
    """The table of contributors names the model"""
    lines = package.facts.text(_ROOT).splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("|") and "Contributor" in line), None)
    if start is None:
        return not_applicable("the README has no table of contributors")
    name = re.sub(r"[^a-z0-9]", "", _display_name(package).lower())
    rows = [re.sub(r"[^a-z0-9]", "", line.split("|")[1].lower()) for line in lines[start:] if line.startswith("|")]
    return (
        passed()
        if any(name in row or (row and row in name) for row in rows)
        else failed(f"{_display_name(package)} is not there")
    )


@rule(
    "DOC20",
    looks_at="CHANGELOG.md",
    fix="mflux-port wire <model>, or add a line below Unreleased with the pull request's number",
    why="mflux's pull request template asks for it",
    only=reasons.has_answers,
)
def changelog_names_the_model(package: Package) -> Verdict:
    """The changelog names the model"""
    text = package.facts.text("CHANGELOG.md")
    if not text:
        return not_applicable("this checkout has no CHANGELOG.md")
    name = re.compile(rf"(?<![\w-]){re.escape(_display_name(package))}(?![\w-])")
    newest = re.split(r"^## ", text, maxsplit=2, flags=re.MULTILINE)[1:2]
    # A port that is merged stands below the release that brought it.
    places = newest if package.port else [text]
    found = any(name.search(place) for place in places)
    return passed() if found else failed(f"{_display_name(package)} is not there")


@rule(
    "DOC21",
    looks_at="the pull request's description",
    fix="keep the fenced release-note block that mflux-port finish writes",
    why="mflux's workflow release-note.yml refuses a pull request without one",
    only=reasons.has_answers,
    when=MERGE,
)
def release_note_is_written(package: Package) -> Verdict:
    """The pull request has a release note"""
    return needs_you("mflux-port finish <model> --dry-run")


@rule(
    "DOC22",
    looks_at=f"{_README} and porting/<model>/",
    fix="name the folder where this checkout keeps its skills",
    why="mflux's skills moved from .cursor/skills to .agents/skills",
)
def named_skills_exist(package: Package) -> Verdict:
    """The skills that the port's documents name are where they say"""
    texts = [package.readme, package.facts.text(f"porting/{package.model}/PORTING.md")]
    named = {path for text in texts for path in re.findall(r"\.(?:cursor|agents)/skills[\w/.-]*\w", text)}
    return none_of([f"{path} is not there" for path in sorted(named) if not package.facts.exists(path)])
