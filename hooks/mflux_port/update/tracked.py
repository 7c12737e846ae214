"""Whether git tracks the port's files. What it ignores, or has marked assume-unchanged, cannot be rolled back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mflux_port.checkout.git import ask_git, git
from mflux_port.errors import PortError
from mflux_port.port.answers import ANSWERS
from mflux_port.template.project import is_owned, owned_paths, project_root

_SOURCE = (".py", ".md", ".yml")


def ignored_files(root: Path, model: str) -> list[str]:
    """The port's own files that git does not have because it ignores them. Empty without git.

    Those are what the template may render and the source files of the package; recordings and caches are not.
    """
    places = _places(model)
    shown = ask_git(root, "ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", *places)
    if not shown:
        return []
    template = project_root() / "template"
    listed = [path.relative_to(template).as_posix() for path in template.rglob("*") if _is_template(path)]
    rendered = _patterns(listed, model)
    return [name for name in _names(shown) if rendered.fullmatch(name) or _is_source(name, places[0])]


def _is_template(path: Path) -> bool:
    # Copier leaves out what Python compiled, too.
    return path.is_file() and path.parent.name != "__pycache__"


def ignored_line(model: str, ignored: list[str]) -> str:
    """The message about ``ignored_files``, with the command that helps."""
    count = f"{len(ignored)} files" if len(ignored) > 1 else "a file"
    return f"git ignores {count} of {model} ({ignored[0]}); add them with `git add --force -- {_arguments(ignored, model)}`"


def verify_tracked(root: Path, model: str, template: Path, versions: list[str], shared: list[str]) -> None:
    """Raise PortError unless git tracks every file that ``versions`` of the template may render, and sees its changes.

    ``template`` is a clone of it, ``shared`` are mflux's files that wiring edits. The tree is clean.
    """
    rejected = _names(ask_git(root, "ls-files", "--others", "-z", "--", "*.rej") or b"")
    if rejected:
        raise PortError(
            f"{rejected[0]} is left over from an earlier merge, and Copier would delete it; apply it or remove it first"
        )
    listed = {name for version in versions for name in _listed(template, version)}
    rendered, owned = _patterns(listed, model), owned_paths(model)
    found = _found(root, model)
    folders = list(filter(_patterns(_folders(listed), model).fullmatch, found))
    files = list(filter(rendered.fullmatch, found))
    _verify_no_links(root, [*folders, *(name for name in files if not is_owned(name, owned))])
    present = [name for name in files if not (root / name).is_dir()]
    known = _flags(root, [*present, *shared])
    ignored = [name for name in present if name not in known]
    if ignored:
        raise PortError(f"{ignored_line(model, ignored)}, commit, and run this again: an update could lose them")
    unseen = sorted(name for name, flag in known.items() if flag.islower())
    if unseen:
        raise PortError(
            f"git assumes that {unseen[0]} is unchanged; undo this with `git update-index --no-assume-unchanged -- "
            f"{unseen[0]}`, commit what you changed there, and run this again"
        )
    _verify_checked_out(root, model, rendered, shared)


def _verify_no_links(root: Path, names: list[str]) -> None:
    # Git tracks the link but not the files behind it, and an update could not roll back what it writes there.
    link = next((name for name in names if (root / name).is_symlink()), None)
    if link:
        raise PortError(f"{link} is a link, behind which an update does not write; put the file or folder itself there")


def _verify_checked_out(root: Path, model: str, rendered: re.Pattern[str], shared: list[str]) -> None:
    # A sparse checkout leaves out files that git tracks; an update needs them.
    shown = git(root, "ls-files", "-t", "-z").split("\0")
    left_out = [line[2:] for line in shown if line.startswith("S ")]
    left_out = [name for name in left_out if rendered.fullmatch(name) or name in shared]
    skipped = next((name for name in left_out if os.path.lexists(root / name)), None)
    if skipped:
        raise PortError(
            f"git is told to skip {skipped} (skip-worktree); undo this with `git update-index --no-skip-worktree -- "
            f"{skipped}`, commit what you changed there, and run this again"
        )
    if left_out:
        folders = " ".join(sorted({os.path.dirname(name) or "." for name in left_out}))
        raise PortError(
            f"this sparse checkout leaves out {len(left_out)} files that an update of {model} needs ({left_out[0]}); "
            f"`git sparse-checkout add {folders}`, and run this again"
        )


def _found(root: Path, model: str) -> list[str]:
    # All files and folders at the port's paths, and the folders above them.
    places = _places(model)
    found = {*places, *_folders(places)}
    for top, folders, files in (walked for place in places for walked in os.walk(root / place)):
        found |= {Path(top, name).relative_to(root).as_posix() for name in (*folders, *files)}
    return sorted(found - {"."})


def _flags(root: Path, names: list[str]) -> dict[str, str]:
    # Git's tag for each name: a lower-case letter marks a file whose changes git ignores.
    shown = git(root, "ls-files", "-v", "-z", "--", *(f":(literal){name}" for name in names))
    return {line[2:]: line[0] for line in shown.split("\0") if line}


def _listed(template: Path, version: str) -> list[str]:
    return _names(ask_git(template, "ls-tree", "-r", "-z", "--name-only", f"{version}:template") or b"")


def _places(model: str) -> list[str]:
    # The port's packages come first.
    return [f"src/mflux/models/{model}", f"porting/{model}", "tests"]


def _folders(names: Iterable[str]) -> set[str]:
    return {parent.as_posix() for name in names for parent in Path(name).parents}


def _patterns(names: Iterable[str], model: str) -> re.Pattern[str]:
    return re.compile("|".join({_pattern(name, model) for name in names}))


def _pattern(name: str, model: str) -> str:
    # The path as a pattern: conditions are left out, unknown parts match anything.
    name = re.sub(r"\{%.*?%\}|[.]jinja$", "", name)
    name = name.replace("{{ _copier_conf.answers_file }}", ANSWERS.format(model=model)).replace("{{ model }}", model)
    return "[^/]+".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", name))


def _is_source(name: str, package: str) -> bool:
    return name.startswith(f"{package}/") and name.endswith(_SOURCE)


def _arguments(names: list[str], model: str) -> str:
    # Many paths become one pattern per folder, in which git's `*` also matches subfolders.
    folders = (f"src/mflux/models/{model}/", f"porting/{model}/")
    if len(names) < 4:
        return " ".join(names)
    wide = {f"'{place}*.py'" for place in folders if any(name.startswith(place) for name in names)}
    single = [name for name in names if not (name.startswith(folders) and name.endswith(".py"))]
    return " ".join([*sorted(wide), *single])


def _names(shown: bytes) -> list[str]:
    return [name for name in shown.decode("utf-8", "surrogateescape").split("\0") if name]
