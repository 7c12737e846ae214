"""Folders that are not a checkout, checkouts with a missing or changed file, or with a broken git."""

from __future__ import annotations

import pytest

from tests.bad_input.damages import begins, both, ends, folder, gone, holds, loop, outside
from tests.bad_input.world import complains

CONFIG, DEFAULTS = "src/mflux/models/common/config/model_config.py", "src/mflux/cli/defaults/defaults.py"
SAVE, RUNNER = "src/mflux/models/common/cli/save.py", "src/mflux/models/common/training/runner.py"
PROJECT, RECORD, JOURNAL = "pyproject.toml", "porting/nova/wiring.json", ".git/mflux-port/journal.json"
SCRIPTS = b'[project.scripts]\nmflux-generate = "mflux.models.flux.cli.flux_generate:main"\n'
WIRING, ALL = ("wire nova", "unwire nova"), ("wire nova", "unwire nova", "check nova", "finish nova", "status nova")

# Case, damage, words in the error line, commands.
BAD = [
    # not a checkout, or only part of one
    *((f"no {name}", gone(name), ("is not an mflux checkout", name, "--checkout"), ALL) for name in (PROJECT, CONFIG, DEFAULTS, SAVE)),
    *((f"a folder for {name}", folder(name), ("is not an mflux checkout", name), ALL) for name in (PROJECT, SAVE)),
    *((f"{name} cannot be read", loop(name), ("is not an mflux checkout", name), ALL) for name in (CONFIG,)),
    ("no answers", gone("porting/nova/answers.yml"), ("answers.yml is missing", "copier copy"), WIRING),
    ("a folder for the answers", folder("porting/nova/answers.yml"), ("cannot use", "answers.yml", "Is a directory"), WIRING),
    ("answers that cannot be read", loop("porting/nova/answers.yml"), ("cannot use", "answers.yml", "symbolic link"), WIRING),
    ("a file for porting", holds("porting", b"x"), ("answers.yml is missing",), WIRING),
    ("a file in place of the port's folder", holds("porting/nova", b"x"), ("answers.yml is missing",), WIRING),
    # shared files that cannot be read
    *((f"a folder for {name}", folder(name), ("cannot use", name, "Is a directory"), WIRING)
      for name in ("README.md", "CHANGELOG.md", ".gitignore", RUNNER, RECORD)),
    *((f"{name} cannot be read", loop(name), ("cannot use", name, "symbolic link"), WIRING) for name in ("README.md", RUNNER)),
    ("a folder among mflux's commands", lambda world: world.path("src/mflux/models/flux2/cli/x.py").mkdir(),
     ("cannot use", "x.py", "Is a directory"), ("wire nova",)),
    # shared files that are not Python or TOML
    ("the registry in UTF-16", holds(CONFIG, b"\xff\xfe\x00\n"), (CONFIG, "is not UTF-8; save it as UTF-8"), WIRING),
    ("the registry in Latin-1", begins(CONFIG, "# coding: latin-1\n# é\n".encode()), (CONFIG, "not UTF-8 but latin-1"), WIRING),
    ("an unknown coding", begins(CONFIG, b"# coding: nonsense\n"), (CONFIG, "is not valid Python"), WIRING),
    ("the registry with a NUL", ends(CONFIG, b"\0"), (CONFIG, "is not valid Python; fix it"), WIRING),
    ("a tower of brackets", ends(CONFIG, b"\nx = " + b"(" * 5000), (CONFIG, "is not valid Python; fix it"), WIRING),
    ("a tower of signs", ends(SAVE, b"\nx = " + b"-" * 100_000 + b"1\n"), (SAVE, "is not valid Python; fix it"), WIRING),
    ("a tower of dots", ends(SAVE, b"\nx = a" + b".b" * 50_000 + b"\n"), (SAVE, "is not valid Python; fix it"), WIRING),
    ("old line ends", lambda world: world.write(SAVE, world.path(SAVE).read_bytes().replace(b"\n", b"\r")),
     (SAVE, "line 1 has a carriage return without a newline"), WIRING),
    ("an empty pyproject", holds(PROJECT, b""), (PROJECT, "one [project.scripts] table, found 0"), WIRING),
    ("a project that is a number", holds(PROJECT, b"project = 5\n"), (PROJECT, "is not a table"), ("wire nova",)),
    ("commands that are a number", holds(PROJECT, b"[project]\nscripts = 3\n"), (PROJECT, "is not a table"), ("wire nova",)),
    ("commands that are a list", holds(PROJECT, b"[[project.scripts]]\na = 1\n"), (PROJECT, "is not a table"), ("wire nova",)),
    ("a command that is a table", holds(PROJECT, SCRIPTS + b"mflux-generate-nova = {a = 1}\n"),
     ("the command mflux-generate-nova is taken by {'a': 1}",), ("wire nova",)),
    ("a tower of TOML", holds(PROJECT, SCRIPTS + b"x = " + b"[" * 5000 + b"]" * 5000), (PROJECT, "nested too deeply"), ("wire nova",)),
    ("the commands in UTF-16", holds(PROJECT, b"\xff\xfe"), (PROJECT, "is not valid TOML"), ("wire nova",)),
    ("no commands for check", holds(PROJECT, b"[project]\n"), (PROJECT, "fix it and run this again"), ("check", "status")),
    # what an earlier run left
    ("a journal that is not a list", holds(JOURNAL, b"5"), ("journal.json cannot be read", "git status"), WIRING),
    ("a journal that leads out", holds(JOURNAL, b'[{"target": "../x", "temporary": "y", "old": null, "new": null}]'),
     ("journal.json cannot be read", "remove that file"), WIRING),
    ("a tower of a journal", holds(JOURNAL, b"[" * 100_000), ("journal.json cannot be read",), WIRING),
    ("a file for the state", holds(".git/mflux-port", b"x"), (".git/mflux-port cannot be written", "nothing was changed"), WIRING),
    ("a folder for the lock", folder(".git/mflux-port/lock"), ("lock cannot be written", "nothing was changed"), WIRING),
    # git
    ("no git", gone(".git"), ("not a git repository", "an update needs a git checkout"), ("update nova",)),
    ("a .git that says nothing", both(gone(".git"), holds(".git", b"hello")), (".git does not name a git folder", "clone mflux again"), WIRING),
    ("a .git file with other content", both(gone(".git"), holds(".git", b"\xff\xfe")), (".git does not name a git folder",), WIRING),
    ("a .git that leads nowhere", both(gone(".git"), holds(".git", b"gitdir: /nowhere/at/all")),
     (".git does not name a git folder (/nowhere/at/all)",), WIRING),
    ("an invalid HEAD", holds(".git/HEAD", b"nonsense"), ("an update needs a git checkout",), ("update nova",)),
    ("a dirty tree", ends("README.md", b"mine\n"), ("1 uncommitted change (README.md)", "commit first"), ("update nova",)),
    ("nothing to restore", lambda world: None, ("no update was interrupted", "nothing to restore"), ("update --restore",)),
    # links to places outside the checkout: their targets must not be written
    *((f"{name} outside the checkout", outside(name), (name, "is a link to a place outside the checkout"), commands)
      for name, commands in (("README.md", ("unwire nova",)), (SAVE, ("unwire nova",)), (RECORD, ("unwire nova",)),
                             ("porting/nova", ALL), ("porting", ALL), ("src/mflux/models/nova", ALL))),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words", "commands"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_damaged_checkouts(world, capsys, damage, words, commands):
    damage(world)
    with world.unchanged():
        for command in commands:
            complains(capsys, command.split(), words)
